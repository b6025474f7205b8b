package sqlkv

import (
	"context"
	"database/sql"
	"errors"

	"github.com/sotto-im/sotto/sesame"
)

// maxAttempts bounds how often Do runs a function: who loses this often in a
// row has met a bug, or traffic that the caller should know about.
const maxAttempts = 100

// Do runs fn in a transaction and commits it. If fn returns an error or panics,
// it rolls back. After a conflict ([Conflict]) it runs fn again in a new
// transaction, so fn must do nothing outside of it: up to 100 times, or until
// ctx is done; then it returns the conflict. It does not wait in between. On
// PostgreSQL the database lets a writer wait for the one before it, and on
// SQLite if transactions begin as IMMEDIATE; else 100 attempts may be over
// before one commit of another process is.
//
// An error of the commit that is no conflict leaves open whether the
// transaction was applied. Read the database again before doing anything over.
func Do(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error) (err error) {
	for range maxAttempts {
		if err = once(ctx, db, fn); !Conflict(err) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func once(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err == nil {
		defer tx.Rollback() // also after a panic; nothing after the commit
		if err = fn(tx); err == nil {
			err = tx.Commit()
		}
	}
	if Conflict(err) {
		err = conflict{err}
	}
	return err
}

// Conflict reports whether err says that another transaction came first and
// this one was rolled back: run it again. It is [sesame.ErrConflict], or an
// error of the database as far as it can be told without its driver:
// PostgreSQL's serialization failure, deadlock and lock timeout, SQLite's busy
// and locked.
func Conflict(err error) bool {
	if errors.Is(err, sesame.ErrConflict) {
		return true
	}
	if pg, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		switch pg.SQLState() {
		case "40001", "40P01", "55P03":
			return true
		}
	}
	if lite, ok := errors.AsType[interface {
		error
		Code() int
	}](err); ok {
		switch lite.Code() & 0xff { // without the extension
		case 5, 6:
			return true
		}
	}
	return false
}

// conflict is an error of the database that is also sesame.ErrConflict.
type conflict struct{ cause error }

// Error returns the text of the database's error.
func (c conflict) Error() string { return c.cause.Error() }

// Is makes it a sesame.ErrConflict.
func (c conflict) Is(target error) bool { return target == sesame.ErrConflict }

// Unwrap returns the database's error.
func (c conflict) Unwrap() error { return c.cause }
