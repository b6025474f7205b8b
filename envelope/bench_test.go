package envelope

import (
	"testing"
)

var sink Message

func kib(b *testing.B) map[string]Message {
	ciphertext := make([]byte, 1024)
	return map[string]Message{
		"1KiB":       &Deliver{Header: header, Type: 2, Ciphertext: ciphertext, Untrusted: Untrusted{1, 1000, 1, 1000, 1e12}},
		"1KiBSubmit": &Submit{Header: header, Counter: 1000, Recipients: table(b, Recipient{bob, 12345, 2, ciphertext})},
	}
}

func BenchmarkParse(b *testing.B) {
	for name, m := range kib(b) {
		in := frame(b, m)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			var f Frame
			for b.Loop() {
				var err error
				if sink, err = f.Parse(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for name, m := range kib(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(frame(b, m))))
			buf := make([]byte, 0, 2048)
			for b.Loop() {
				if _, err := m.AppendBinary(buf[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A group message: one ciphertext, 1,000 devices. Reading includes the walk over
// the table.
func BenchmarkParseShared(b *testing.B) {
	b.Run("1000", func(b *testing.B) {
		list := make([]Recipient, 1000)
		for i := range list {
			list[i] = Recipient{Device: Device{[16]byte{byte(i >> 8), byte(i), 1}, uint32(i%5 + 1)}, RegistrationID: 12345}
		}
		in := frame(b, &Submit{Header: header, Counter: 1, SharedType: 7, Shared: make([]byte, 1024), Recipients: table(b, list...)})
		b.ReportAllocs()
		b.SetBytes(int64(len(in)))
		var f Frame
		for b.Loop() {
			m, err := f.Parse(in)
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for range m.(*Submit).Recipients.All() {
				n++
			}
			if n != 1000 {
				b.Fatal(n)
			}
		}
		b.ReportMetric(float64(len(in))/1000, "B/recipient")
	})
}

func BenchmarkPack(b *testing.B) {
	body := make([]byte, 1024)
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	b.SetBytes(1024)
	for b.Loop() {
		p, err := Pack(buf[:0], &header, body)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Unpack(&header, Sender(alice), p); err != nil {
			b.Fatal(err)
		}
	}
}
