package sesame

import "iter"

// MaxRowKeySize is the length in bytes of the longest key of a row. It fits
// the indexes of all common databases.
const MaxRowKeySize = 1024

// A Tx is one transaction of the caller's database, seen as rows: a key, a
// value and a revision. The package keeps all its state in such rows and none
// in memory, so that what a call does is committed, or rolled back, with what
// the application writes in the same transaction: its outbox and its inbox.
//
// [Memory] and package sqlkv have one; a Tx over anything else is proven by
// txtest.Run. The contract (SPEC.md §10.1):
//
// Rows. A key is a string of 1 to [MaxRowKeySize] bytes, any bytes, compared
// byte by byte. All keys of this package begin with "sotto/"; nobody else may
// write there. A value is any number of bytes, and an empty value is not an
// absent one: the revision tells them apart.
//
// Revisions. A row that exists has a revision other than 0. Every write gives
// the row a revision that its key never had before, also not before it was
// deleted: a counter that starts again would let a writer who slept through
// delete and creation overwrite a row that he has never read. Revisions mean
// nothing else, and are not ordered.
//
// Isolation. What a transaction wrote, only that transaction sees until it
// commits. Between two reads of one row the row may change (PostgreSQL's READ
// COMMITTED): no write is lost all the same, because every write names the
// revision that it replaces. Put and Delete compare it with the newest
// committed one, at the call or at commit, and one of two transactions that
// replace the same revision gets [ErrConflict]. Rows that are only read are
// not guarded.
//
// All or nothing. A transaction in which a call has failed does not commit,
// even if the error was ignored. If the function that runs in it returns an
// error or panics, or the process dies before the commit, nothing of it is
// kept; after the commit, all of it is. On ErrConflict the caller runs the
// function again, from the start, in a new transaction. A commit that
// answered an error, or not at all, may have been applied: read again, assume
// nothing.
//
// Values. A value that Get returned is valid until the transaction ends,
// whatever is written meanwhile; a value given to Put is the caller's again
// when the transaction has ended. Neither side modifies it before.
//
// A Tx is for one goroutine and ends with its transaction; calls after that
// fail.
type Tx interface {
	// Get returns the value of a row and its revision, as this transaction has
	// written them, or else as they were last committed. A row that does not
	// exist is nil, 0, nil.
	Get(key string) (value []byte, rev uint64, err error)

	// Put writes a row. rev is the revision that was read, 0 if the row must
	// not exist yet. It is ErrConflict if the row has another revision, or
	// none. The new revision is had by reading the row again.
	Put(key string, value []byte, rev uint64) error

	// Delete removes the row that has this revision. It is ErrConflict if the
	// row has another revision, or none. With rev 0 the row must not exist, and
	// nothing is done.
	Delete(key string, rev uint64) error

	// Scan yields the keys that begin with prefix in ascending order of their
	// bytes. They are those that existed, own writes included, when the
	// iteration began; the transaction may be used, also for writing, during
	// it. An error is yielded once, with an empty key, and ends the iteration.
	Scan(prefix string) iter.Seq2[string, error]
}

func validRowKey(key string) bool { return 0 < len(key) && len(key) <= MaxRowKeySize }
