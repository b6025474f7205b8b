package envelope

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// seeds adds a frame of every kind, and fails when there is none.
func seeds(f *testing.F, add func([]byte)) {
	n := 0
	for _, m := range samples(f) {
		add(frame(f, m))
		n++
	}
	for _, h := range hostile() {
		b := h.frame
		if len(b) < 64<<10 {
			add(b)
			n++
		}
	}
	if n < 20 {
		f.Fatal("no seeds")
	}
}

// E01: Parse is total, accepts exactly what AppendBinary writes, changes
// nothing on failure, and the table of a frame can be walked to its end.
func FuzzFrame(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.Clone(b)
		var room Frame
		m, err := room.Parse(b)
		if !bytes.Equal(in, b) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrTooLarge) {
				t.Fatal(err)
			}
			if m != nil || room.submit.Counter != 0 || room.result.Code != 0 || room.deliver.Type != 0 || room.ack != (Ack{}) {
				t.Fatal("something was changed")
			}
			return
		}
		out, err := m.AppendBinary(nil)
		if err != nil || !bytes.Equal(out, b) {
			t.Fatalf("% x, %v", out, err)
		}
		if s, ok := m.(*Submit); ok {
			n := 0
			var last Device
			for v := range s.Recipients.All() {
				if v.Device.Compare(last) <= 0 || (len(v.Ciphertext) == 0) == (len(s.Shared) == 0) {
					t.Fatal("not a table")
				}
				last = v.Device
				n++
			}
			if n != s.Recipients.Len() || n == 0 || n > MaxRecipients {
				t.Fatalf("%d lines", n)
			}
		}
	})
}

// FuzzStream: whatever arrives, the frames come out whole, and then one error.
func FuzzStream(f *testing.F) {
	var all []byte
	for _, m := range samples(f) {
		b, err := AppendDelimited(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		all = append(all, b...)
	}
	if len(all) == 0 {
		f.Fatal("no seeds")
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		var buf, again []byte
		var err error
		for {
			if buf, err = ReadDelimited(r, buf); err != nil {
				break
			}
			again = append(again, byte(len(buf)>>24), byte(len(buf)>>16), byte(len(buf)>>8), byte(len(buf)))
			again = append(again, buf...)
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatal("other bytes than those that arrived")
		}
		rest := b[len(again):]
		switch {
		case errors.Is(err, io.EOF):
			if len(rest) != 0 {
				t.Fatal("bytes were lost")
			}
		case errors.Is(err, io.ErrUnexpectedEOF):
			if len(rest) == 0 {
				t.Fatal("nothing was cut")
			}
		case !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge):
			t.Fatal(err)
		}
	})
}

// FuzzUnpack: Unpack is total, and returns a body only for the bytes that Pack
// writes for this body and header.
func FuzzUnpack(f *testing.F) {
	n := 0
	for _, h := range []Header{header, ephemeral} {
		for _, body := range [][]byte{nil, []byte("hello"), {0x80, 0}, make([]byte, 3000)} {
			b, err := Pack(nil, &h, body)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
			n++
		}
	}
	if n == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, h := range []Header{header, ephemeral} {
			body, err := Unpack(&h, Sender(alice), b)
			if err != nil {
				if body != nil || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrMismatch) {
					t.Fatal(err)
				}
				continue
			}
			again, err := Pack(nil, &h, body)
			if err != nil || !bytes.Equal(again, b) {
				t.Fatal("another form of one plaintext")
			}
			if _, err := Unpack(&h, Sender(bob), b); !errors.Is(err, ErrMismatch) {
				t.Fatal("the sender was not compared")
			}
		}
	})
}
