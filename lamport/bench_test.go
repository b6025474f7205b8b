package lamport

import "testing"

// BenchmarkSubmit accepts messages of one device that arrive in order.
func BenchmarkSubmit(b *testing.B) {
	c, w := conversation(b), window(b, alice)
	s := Submission{Conversation: id(1), ID: num(1), Sender: alice}
	var r Receipt
	b.ReportAllocs()
	for b.Loop() {
		s.Counter++
		s.Stamp++
		s.ID[8], s.ID[9], s.ID[10] = byte(s.Counter), byte(s.Counter>>8), byte(s.Counter>>16)
		var err error
		if r, err = c.Submit(w, s, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(record0(b, &r))), "B/message")
	b.ReportMetric(float64(len(record0(b, c))), "B/conversation")
	b.ReportMetric(float64(len(record0(b, w))), "B/device")
}

// BenchmarkSubmitRows is Submit with the work of a server around it: rows are
// read, decided on, and written.
func BenchmarkSubmitRows(b *testing.B) {
	crow, wrow := record0(b, conversation(b)), record0(b, window(b, alice))
	var rrow []byte
	s := Submission{Conversation: id(1), ID: num(1), Sender: alice}
	b.ReportAllocs()
	for b.Loop() {
		s.Counter++
		s.Stamp++
		var c Conversation
		var w Window
		if c.UnmarshalBinary(crow) != nil || w.UnmarshalBinary(wrow) != nil {
			b.Fatal()
		}
		r, err := c.Submit(&w, s, nil)
		if err != nil {
			b.Fatal(err)
		}
		crow, _ = c.AppendBinary(crow[:0])
		wrow, _ = w.AppendBinary(wrow[:0])
		rrow, _ = r.AppendBinary(rrow[:0])
	}
}

func BenchmarkSubmitDuplicate(b *testing.B) {
	c, w := conversation(b), window(b, alice)
	s := Submission{id(1), num(1), alice, 1, 1}
	r, err := c.Submit(w, s, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Submit(w, s, &r); err != ErrDuplicate {
			b.Fatal(err)
		}
	}
}

func BenchmarkWindow(b *testing.B) {
	b.Run("Mark", func(b *testing.B) {
		w := window(b, alice)
		b.ReportAllocs()
		for n := uint64(1); b.Loop(); n++ {
			if err := w.Mark(n); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Check", func(b *testing.B) {
		w := window(b, alice)
		for n := uint64(1); n <= WindowSize; n++ {
			_ = w.Mark(n)
		}
		b.ReportAllocs()
		for n := uint64(1); b.Loop(); n = n%WindowSize + 1 {
			if w.Check(n) != ErrTooOld {
				b.Fatal(n)
			}
		}
	})
	b.Run("record/order", func(b *testing.B) { benchmarkWindowRecord(b, 1) })
	b.Run("record/sparse", func(b *testing.B) { benchmarkWindowRecord(b, 2) })
}

func benchmarkWindowRecord(b *testing.B, step uint64) {
	w := window(b, alice)
	for n := uint64(1); n <= 2*WindowSize; n += step {
		_ = w.Mark(n)
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = w.AppendBinary(buf[:0])
		if err := w.UnmarshalBinary(buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(buf)), "B/device")
}

// BenchmarkInbox receives and processes, in order and with each pair swapped.
func BenchmarkInbox(b *testing.B) {
	frame := make([]byte, 1024)
	b.Run("order", func(b *testing.B) {
		in := at(b, 1, 0)
		b.ReportAllocs()
		for n := uint64(1); b.Loop(); n++ {
			if v, _ := in.Receive(Position{1, n}, frame); v != Process {
				b.Fatal(v)
			}
			_ = in.Advance(Position{1, n})
		}
		b.ReportMetric(float64(len(record0(b, in))), "B/device")
	})
	b.Run("swapped", func(b *testing.B) {
		in := at(b, 1, 0)
		b.ReportAllocs()
		for n := uint64(1); b.Loop(); n += 2 {
			_, _ = in.Receive(Position{1, n + 1}, frame)
			_, _ = in.Receive(Position{1, n}, frame)
			_ = in.Advance(Position{1, n})
			p, _, _ := in.Next()
			if err := in.Advance(p); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRegister(b *testing.B) {
	r, other := register(b), register(b)
	b.ReportAllocs()
	for s := Stamp(1); b.Loop(); s++ {
		other.w = Write{alice, s, true, nil}
		if won, err := r.Merge(other); !won || err != nil {
			b.Fatal(err)
		}
	}
}
