package simulate

import (
	"errors"

	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/txtest"
)

// A Rule is a rule of who uses sesame that a run breaks on purpose, to show
// that the oracle sees it. The library is the same.
type Rule string

// The rules.
const (
	None                Rule = ""
	IgnoreRevisions     Rule = "ignore-revisions"
	NoRollback          Rule = "no-rollback"
	TwoTransactions     Rule = "two-transactions"
	AcknowledgeFirst    Rule = "acknowledge-first"
	SendBeforeCommit    Rule = "send-before-commit"
	PublishBeforeCommit Rule = "publish-before-commit"
	StaleRerun          Rule = "stale-rerun"
	AssumeRolledBack    Rule = "assume-rolled-back"
	RestoreBackup       Rule = "restore-backup"
	NeverConfirm        Rule = "never-confirm"
	NeverRestart        Rule = "never-restart"

	RemoveQuietly         Rule = "remove-quietly"
	OldRoster             Rule = "old-roster"
	NoRevision            Rule = "no-revision"
	SendGroupBeforeCommit Rule = "send-group-before-commit"
	DistributedEarly      Rule = "distributed-early"
	NeverDistributed      Rule = "never-distributed"
	DropHeld              Rule = "drop-held"
	DropReleased          Rule = "drop-released"
	NeverAsk              Rule = "never-ask"
)

// Rules are the rules that can be broken, what each breaks, and what the oracle
// must find for it.
var Rules = []struct {
	Rule  Rule
	Does  string
	Found Count
}{
	{IgnoreRevisions, "the store writes whatever revision a row has: the last writer wins", Reused},
	{NoRollback, "the store commits every write at once, and keeps it when the transaction fails", Failed},
	{TwoTransactions, "the session is committed first, and the plaintext in a transaction of its own", Lost},
	{AcknowledgeFirst, "a message is acknowledged before its transaction", Lost},
	{SendBeforeCommit, "a message is sent inside its transaction", Reused},
	{PublishBeforeCommit, "prekeys are uploaded inside the transaction that makes them", Lost},
	{StaleRerun, "after a conflict the transaction runs again with the values that it has read, and fresh revisions", Reused},
	{AssumeRolledBack, "after an error of the commit the message is encrypted again, and nobody looks into the outbox", Twice},
	{RestoreBackup, "a restart goes on with an older copy of the database", Reused},
	{NeverConfirm, "another identity key is never confirmed", Stuck},
	{NeverRestart, "nobody starts anew with a device whose messages cannot be read", Stuck},
	{RemoveQuietly, "who is removed from a group gets no more messages, but sesame is told that it is still in", Leaked},
	{OldRoster, "an older membership of a group is given out for the newest one", Leaked},
	{NoRevision, "the revisions of groups are kept from sesame", Leaked},
	{SendGroupBeforeCommit, "a message to a group is sent inside its transaction", Reused},
	{DistributedEarly, "a distribution counts as accepted when it is made, and is sent once", Keyless},
	{NeverDistributed, "nobody notes that a distribution was accepted", Stuck},
	{DropHeld, "the database loses the messages that are held", Lost},
	{DropReleased, "the messages that a distribution brings are dropped", Lost},
	{NeverAsk, "nobody asks for what it could not read", Lost},
}

// Known reports whether r is None or one of [Rules].
func (r Rule) Known() bool {
	for _, rule := range Rules {
		if r == rule.Rule {
			return true
		}
	}
	return r == None
}

// breakStore is the store m, or one that breaks a promise of it.
func breakStore(r Rule, m *sesame.Memory) txtest.Store {
	switch r {
	case IgnoreRevisions:
		return lastWriterWins{m}
	case NoRollback:
		return autocommit{m}
	case DropHeld:
		return heldNowhere{m}
	}
	return m
}

// lastWriterWins ignores revisions.
type lastWriterWins struct{ memory *sesame.Memory }

// A write is what was done to a row.
type write struct {
	key   string
	value []byte
	put   bool // else deleted
}

func (w write) apply(tx sesame.Tx) error {
	_, rev, err := tx.Get(w.key)
	if err != nil {
		return err
	}
	if w.put {
		return tx.Put(w.key, w.value, rev)
	}
	return tx.Delete(w.key, rev)
}

func (s lastWriterWins) Do(fn func(sesame.Tx) error) error {
	var writes []write
	done := false
	err := s.memory.Do(func(tx sesame.Tx) error {
		err := fn(&blindTx{tx, &writes})
		done = err == nil
		return err
	})
	if !done || !errors.Is(err, sesame.ErrConflict) {
		return err
	}
	return s.memory.Do(func(tx sesame.Tx) error { // over what another one has committed
		for _, w := range writes {
			if err := w.apply(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

type blindTx struct {
	sesame.Tx
	writes *[]write
}

func (t *blindTx) do(w write) error {
	*t.writes = append(*t.writes, w)
	return w.apply(t.Tx)
}

func (t *blindTx) Put(key string, value []byte, _ uint64) error {
	return t.do(write{key, value, true})
}

func (t *blindTx) Delete(key string, _ uint64) error { return t.do(write{key: key}) }

// autocommit is a store without transactions.
type autocommit struct{ memory *sesame.Memory }

func (s autocommit) Do(fn func(sesame.Tx) error) error {
	return s.memory.Do(func(tx sesame.Tx) error { return fn(autoTx{tx, s.memory}) })
}

type autoTx struct {
	sesame.Tx // reads what is committed
	memory    *sesame.Memory
}

func (t autoTx) Put(key string, value []byte, rev uint64) error {
	return t.memory.Do(func(tx sesame.Tx) error { return tx.Put(key, value, rev) })
}

func (t autoTx) Delete(key string, rev uint64) error {
	return t.memory.Do(func(tx sesame.Tx) error { return tx.Delete(key, rev) })
}

// rerunStale makes fn keep what it has read when it runs again.
func rerunStale(fn func(sesame.Tx) error) func(sesame.Tx) error {
	read := map[string][]byte{}
	return func(tx sesame.Tx) error { return fn(&staleTx{tx, read, map[string]bool{}}) }
}

type staleTx struct {
	sesame.Tx
	read    map[string][]byte
	written map[string]bool
}

func (t *staleTx) Get(key string) ([]byte, uint64, error) {
	value, rev, err := t.Tx.Get(key)
	if err != nil || rev == 0 || t.written[key] {
		return value, rev, err
	}
	if old, ok := t.read[key]; ok {
		return old, rev, nil
	}
	t.read[key] = value
	return value, rev, nil
}

func (t *staleTx) Put(key string, value []byte, rev uint64) error {
	t.written[key] = true
	return t.Tx.Put(key, value, rev)
}

// makeBackup copies all rows.
func (d *device) makeBackup() {
	d.trace("%v makes a backup", d)
	d.backup = map[string][]byte{}
	keys, values := d.rows("")
	for i, key := range keys {
		d.backup[key] = values[i]
	}
}

// restoreBackup goes back to the last backup.
func (d *device) restoreBackup() {
	if d.backup == nil {
		return
	}
	d.trace("%v restores a backup", d)
	d.use(new(sesame.Memory))
	d.observe(func(tx sesame.Tx) error {
		for key, value := range d.backup {
			if err := tx.Put(key, value, 0); err != nil {
				return err
			}
		}
		return nil
	})
}
