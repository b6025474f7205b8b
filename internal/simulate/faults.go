package simulate

import (
	"errors"
	"strings"
	"time"

	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/txtest"
)

// The chances of faults, in a thousand.
const (
	stepFaults   = 15
	commitFaults = 80
	interleaving = 25
)

// errCrashed: the process died in the transaction.
var errCrashed = errors.New("simulate: the process died")

// do runs fn in a transaction of process p, which is started if it does not
// run. It returns nil only if the transaction is known to have committed.
func (d *device) do(p int, what string, fn func(tx sesame.Tx, dev *sesame.Device) error) error {
	dev, err := d.process(p)
	if err != nil {
		return err
	}
	return d.transaction(p, what, func(tx sesame.Tx) error { return fn(tx, dev) })
}

// process returns process p, started if it does not run.
func (d *device) process(p int) (*sesame.Device, error) {
	if dev := d.processes[p]; dev != nil {
		return dev, nil
	}
	var dev *sesame.Device
	err := d.transaction(p, "open", func(tx sesame.Tx) (err error) {
		dev, err = sesame.Open(tx, sesame.Config{Now: func() time.Time { return d.now }, PairwiseGroups: d.pairwise})
		return err
	})
	if err != nil {
		return nil, err
	}
	d.processes[p], d.observer = dev, dev
	if d.identity == none {
		d.observe(func(tx sesame.Tx) (err error) {
			d.identity, d.registration, err = dev.Identity(tx)
			return err
		})
	}
	return dev, nil
}

// attempts is how often a transaction is run in a row.
const attempts = 6

func (d *device) transaction(p int, what string, fn func(tx sesame.Tx) error) (err error) {
	run := fn
	if d.Break == StaleRerun {
		run = rerunStale(fn)
	}
	for range attempts {
		d.count(Transactions)
		if err = d.once(p, run); !errors.Is(err, sesame.ErrConflict) {
			break
		}
		d.count(Conflicts)
		d.trace("  %v: %s: conflict", d, what)
	}
	switch {
	case err == nil:
	case d.faulty && (err == errCrashed || errors.Is(err, txtest.ErrInjected) || errors.Is(err, sesame.ErrConflict)):
		d.trace("  %v: %s: %v", d, what, err)
	default:
		d.violation(Failed, "%v: %s: %v", d, what, err)
	}
	return err
}

// once runs fn once. The process may die in it.
func (d *device) once(p int, fn func(tx sesame.Tx) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(txtest.Crash); !ok {
				panic(r)
			}
			d.count(Crashes)
			d.processes[p] = nil
			err = errCrashed
		}
	}()
	return d.stores[p].Do(fn)
}

// plan is what happens at the steps of the transactions of process p.
func (d *device) plan(p int) func(txtest.Step) txtest.Fault {
	return func(s txtest.Step) txtest.Fault {
		d.count(Steps)
		if !d.faulty {
			return txtest.None
		}
		if d.fault != nil {
			return d.fault(s)
		}
		if !d.inside && d.rng.IntN(1000) < interleaving {
			d.interleave(1-p, s)
		}
		chance := stepFaults
		if s.Op == txtest.Commit {
			chance = commitFaults
		}
		if d.rng.IntN(1000) >= chance {
			return txtest.None
		}
		d.count(Faults)
		f := txtest.NotApplied + txtest.Fault(d.rng.IntN(4))
		d.trace("  %v: %s at %s", d, faultNames[f], stepName(s))
		return f
	}
}

var faultNames = [...]string{
	txtest.NotApplied: "an error, not applied,", txtest.Applied: "an error, applied,",
	txtest.CrashBefore: "a crash before", txtest.CrashAfter: "a crash after",
}

// stepName names a step without what comes from keys.
func stepName(s txtest.Step) string {
	op := [...]string{txtest.Get: "get", txtest.Put: "put", txtest.Delete: "delete", txtest.Scan: "scan", txtest.Commit: "commit"}[s.Op]
	key := s.Key
	if parts := strings.SplitN(key, "/", 3); strings.HasPrefix(key, "sotto/") && len(parts) == 3 {
		key = parts[0] + "/" + parts[1] + "/…"
	}
	return strings.TrimSpace(op + " " + key)
}

// interleave runs transactions of process q at a step of one of the other
// process: what they commit, that one has not seen.
func (d *device) interleave(q int, s txtest.Step) {
	if d.identity == none || d.server.publication == nil {
		return
	}
	d.count(Interleaved)
	d.trace("  %v: before %s, process %d runs:", d, stepName(s), q)
	d.inside = true
	defer func() { d.inside = false }()
	to := d.target
	if to == nil {
		to = d.friend()
	}
	switch n := d.rng.IntN(100); {
	case n < 30 && d.handling != nil:
		d.receive(q, d.handling)
	case n < 60 && len(d.server.mail) > 0:
		m := d.anyMail()
		for range 3 { // of the same session, if there is one
			if h := d.handling; h != nil && (m.from != h.from || m.letter == h.letter) {
				m = d.anyMail()
			}
		}
		d.receive(q, m)
	case n < 85:
		if len(d.groups) > 0 && d.percent(50) {
			d.writeGroup(q, d.groups[d.rng.IntN(len(d.groups))])
		} else {
			d.write(q, to)
		}
		d.submit(q)
	case n < 92:
		d.startAnew(q, to)
	default:
		d.publish(q)
	}
}
