// Package sqlkv keeps a device's state in the application's SQL database, in
// the application's own transactions.
//
// It is for applications on SQLite or PostgreSQL; it imports no driver. For
// another database, implement [sesame.Tx] and prove it with txtest.Run.
//
// # Usage
//
// Create the table ([Schema]) in a migration. In each transaction that calls a
// sesame.Device, pass it [Tx] of the transaction, and write the outbox or inbox
// row beside it:
//
//	err := sqlkv.Do(ctx, db, func(tx *sql.Tx) error {
//		out, err := dev.Encrypt(sqlkv.Tx(tx), plaintext, to...)
//		if err != nil {
//			return err
//		}
//		return addOutbox(tx, id, out)
//	})
//
// [Do] rolls back after errors and panics and repeats after conflicts. An
// application that has such a function already uses its own, with [Conflict].
//
// # Databases
//
// PostgreSQL: any isolation level; READ COMMITTED, the default, is enough and
// conflicts least. With a driver whose errors have a method SQLState() string
// (pgx, lib/pq), serialization failures and deadlocks are conflicts too.
//
// SQLite: any journal mode; WAL with synchronous=FULL is advised, since at
// synchronous=NORMAL a power failure takes back commits that were answered, and
// the device would use message keys again. Begin transactions as IMMEDIATE and
// set a busy timeout, so that writers wait for each other instead of running
// again. For modernc.org/sqlite that is
//
//	file:app.db?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)
//
// With a driver whose errors have a method Code() int (modernc.org/sqlite), a
// locked database is a conflict. Errors of other drivers stay what they are:
// they roll back all the same, and the application decides whether to repeat.
//
// # Security
//
// Values are stored as they come, session keys in clear: wrap the Tx in
// sesame.Seal, or use a database that encrypts its files, and leave the table
// out of backups. See SPEC.md §10.1.
package sqlkv

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"iter"

	"github.com/sotto-im/sotto/sesame"
)

// Schema creates the table, if it is not there, on SQLite and PostgreSQL. Keys
// are bytes, so that no collation orders them.
const Schema = `CREATE TABLE IF NOT EXISTS sotto_rows (
	k BYTEA NOT NULL PRIMARY KEY,
	v BYTEA NOT NULL,
	rev BIGINT NOT NULL
)`

const (
	selectRow     = `SELECT v, rev FROM sotto_rows WHERE k = $1`
	insertRow     = `INSERT INTO sotto_rows (k, v, rev) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`
	updateRow     = `UPDATE sotto_rows SET v = $1, rev = $2 WHERE k = $3 AND rev = $4`
	deleteRow     = `DELETE FROM sotto_rows WHERE k = $1 AND rev = $2`
	selectKeys    = `SELECT k FROM sotto_rows WHERE k >= $1 AND k < $2 ORDER BY k`
	selectKeysEnd = `SELECT k FROM sotto_rows WHERE k >= $1 ORDER BY k`
)

// Tx returns the rows of a transaction. As [sesame.Tx] demands, a transaction
// in which a call of it fails is lost: Tx rolls it back at once, and the
// caller's Commit is then sql.ErrTxDone.
func Tx(tx *sql.Tx) sesame.Tx { return TxContext(context.Background(), tx) }

// TxContext is [Tx] with a context for its statements. The context of
// sql.DB.BeginTx does not end a statement that waits for another transaction;
// this one does.
func TxContext(ctx context.Context, tx *sql.Tx) sesame.Tx { return &rows{ctx: ctx, tx: tx} }

// rows implements sesame.Tx. Revisions are random numbers of 63 bits, drawn
// at every write: they need no counter that could start again, and two of one
// key are equal with probability 2⁻⁶³.
type rows struct {
	ctx context.Context
	tx  *sql.Tx
	err error // of the first call that failed
}

// fail gives the transaction up. After a statement failed it may hold a part
// of what the caller meant to write, and the caller may not look at the error.
func (r *rows) fail(err error) error {
	if Conflict(err) {
		err = conflict{err}
	}
	r.err = err
	_ = r.tx.Rollback() // fails if it is over, which is what is wanted
	return err
}

// ready reports whether key can be used in the transaction.
func (r *rows) ready(key string) error {
	if r.err == nil && (len(key) == 0 || len(key) > sesame.MaxRowKeySize) {
		return r.fail(sesame.ErrRowKey)
	}
	return r.err
}

// Get implements [sesame.Tx]. The value is the caller's.
func (r *rows) Get(key string) ([]byte, uint64, error) {
	if err := r.ready(key); err != nil {
		return nil, 0, err
	}
	var value []byte
	var rev int64
	switch err := r.tx.QueryRowContext(r.ctx, selectRow, []byte(key)).Scan(&value, &rev); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, 0, nil
	case err != nil:
		return nil, 0, r.fail(err)
	}
	return value, uint64(rev), nil
}

// Put implements [sesame.Tx]. The database compares the revision in the
// statement that writes. PostgreSQL, where another transaction has the row
// locked, waits for its end and compares with what it has committed. (A rev of
// 64 bits becomes a negative number, which no row has.)
func (r *rows) Put(key string, value []byte, rev uint64) error {
	if err := r.ready(key); err != nil {
		return err
	}
	if value == nil {
		value = []byte{} // not NULL
	}
	if rev == 0 {
		return r.one(insertRow, []byte(key), value, newRevision())
	}
	return r.one(updateRow, value, newRevision(), []byte(key), int64(rev))
}

// Delete implements [sesame.Tx].
func (r *rows) Delete(key string, rev uint64) error {
	if err := r.ready(key); err != nil {
		return err
	}
	if rev == 0 {
		_, rev, err := r.Get(key)
		if err == nil && rev != 0 {
			err = r.fail(sesame.ErrConflict)
		}
		return err
	}
	return r.one(deleteRow, []byte(key), int64(rev))
}

// one runs a statement that changes one row, or none, which is a conflict.
func (r *rows) one(statement string, args ...any) error {
	result, err := r.tx.ExecContext(r.ctx, statement, args...)
	if err != nil {
		return r.fail(err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return r.fail(err)
	}
	if n != 1 {
		return r.fail(sesame.ErrConflict)
	}
	return nil
}

// Scan implements [sesame.Tx]. It reads all keys before it yields the first:
// the transaction has one connection, which an open query would block.
func (r *rows) Scan(prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		keys, err := r.keys(prefix)
		if err != nil {
			yield("", err)
			return
		}
		for _, key := range keys {
			if !yield(key, nil) {
				return
			}
		}
	}
}

func (r *rows) keys(prefix string) ([]string, error) {
	if r.err != nil {
		return nil, r.err
	}
	statement, args := selectKeysEnd, []any{[]byte(prefix)}
	if end := successor(prefix); end != nil {
		statement, args = selectKeys, append(args, end)
	}
	keys, err := r.query(statement, args...)
	if err != nil {
		return nil, r.fail(err)
	}
	return keys, nil
}

// query reads a column to its end and closes the query.
func (r *rows) query(statement string, args ...any) (keys []string, err error) {
	found, err := r.tx.QueryContext(r.ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	for found.Next() {
		var key []byte
		if err := found.Scan(&key); err != nil {
			return nil, err
		}
		keys = append(keys, string(key))
	}
	return keys, found.Err()
}

// successor returns the first key after all that begin with prefix, nil if
// there is none.
func successor(prefix string) []byte {
	for n := len(prefix); n > 0; n-- {
		if prefix[n-1] != 0xff {
			end := []byte(prefix[:n])
			end[n-1]++
			return end
		}
	}
	return nil
}

// newRevision draws a revision: 1 to 2⁶³-1.
func newRevision() int64 {
	for {
		var b [8]byte
		rand.Read(b[:]) // never fails
		if rev := int64(binary.LittleEndian.Uint64(b[:]) >> 1); rev != 0 {
			return rev
		}
	}
}
