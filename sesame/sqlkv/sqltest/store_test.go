package sqltest

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/sqlkv"
	"github.com/sotto-im/sotto/sesame/txtest"
)

// R-10.1-1 to R-10.1-9 on each database.
func TestSQLite(t *testing.T) {
	for name, options := range map[string]string{"advised": advised, "deferred": deferred, "bare": bare} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			txtest.Run(t, func(t *testing.T) txtest.Store { return newStore(t, sqlite(t, options)) })
		})
	}
}

func TestPostgreSQL(t *testing.T) {
	for name, level := range map[string]sql.IsolationLevel{
		"default": sql.LevelDefault, "repeatable read": sql.LevelRepeatableRead, "serializable": sql.LevelSerializable,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			txtest.Run(t, func(t *testing.T) txtest.Store {
				s := newStore(t, postgres(t))
				s.level = level
				return s
			})
		})
	}
}

// The default is the one that the tests are about.
func TestPostgreSQLDefaultIsReadCommitted(t *testing.T) {
	s := newStore(t, postgres(t))
	tx, err := s.db.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	var level, version string
	require.NoError(t, tx.QueryRow("SHOW transaction_isolation").Scan(&level))
	require.NoError(t, tx.QueryRow("SHOW server_version").Scan(&version))
	require.Equal(t, "read committed", level)
	t.Log("PostgreSQL", version)
}

// Sealed values on a database.
func TestSealed(t *testing.T) {
	onEach(t, func(t *testing.T, s *store) {
		key := sesame.GenerateSealKey()
		require.NoError(t, s.Do(func(tx sesame.Tx) error { return sesame.Seal(tx, key).Put("sotto/a", []byte("hidden"), 0) }))
		require.NoError(t, s.Do(func(tx sesame.Tx) error {
			value, _, err := sesame.Seal(tx, key).Get("sotto/a")
			require.Equal(t, "hidden", string(value))
			return err
		}))
		var stored []byte
		require.NoError(t, s.db.QueryRow("SELECT v FROM sotto_rows").Scan(&stored))
		require.NotContains(t, string(stored), "hidden")
		require.ErrorIs(t, s.Do(func(tx sesame.Tx) error {
			_, _, err := sesame.Seal(tx, sesame.GenerateSealKey()).Get("sotto/a")
			return err
		}), sesame.ErrSealed)
	})
}

// onEach runs a test on both databases.
func onEach(t *testing.T, test func(t *testing.T, s *store)) {
	t.Run("SQLite", func(t *testing.T) { test(t, newStore(t, sqlite(t, advised))) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, newStore(t, postgres(t))) })
}

// What sqlkv is for: without the comparison of revisions PostgreSQL, as it
// comes, loses one of two updates, and says nothing.
func TestPostgreSQLLosesUpdatesWithoutRevisions(t *testing.T) {
	s := newStore(t, postgres(t))
	_, err := s.db.Exec("INSERT INTO sotto_rows VALUES ('n', '0', 1)")
	require.NoError(t, err)
	one, two := begin(t, s.db), begin(t, s.db)
	defer one.Rollback()
	defer two.Rollback()
	var errs []error
	for _, tx := range []*sql.Tx{one, two} {
		var v []byte
		require.NoError(t, tx.QueryRow("SELECT v FROM sotto_rows WHERE k = 'n'").Scan(&v))
		require.Equal(t, "0", string(v))
	}
	for _, tx := range []*sql.Tx{one, two} {
		_, err := tx.Exec("UPDATE sotto_rows SET v = '1', rev = rev + 1 WHERE k = 'n'")
		errs = append(errs, err, tx.Commit())
	}
	require.NoError(t, errors.Join(errs...), "both add one to 0, and both are told that they did")
}

func begin(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.Begin()
	require.NoError(t, err)
	return tx
}

// The application's rows share the fate of sesame's: also after an error that
// it does not look at.
func TestApplicationRows(t *testing.T) {
	ctx := context.Background()
	onEach(t, func(t *testing.T, s *store) {
		_, err := s.db.Exec("CREATE TABLE outbox (id INTEGER PRIMARY KEY)")
		require.NoError(t, err)
		count := func() (n int) {
			require.NoError(t, s.db.QueryRow("SELECT count(*) FROM outbox").Scan(&n))
			return n
		}
		send := func(id int, rev uint64) func(tx *sql.Tx) error {
			return func(tx *sql.Tx) error {
				if _, err := tx.Exec("INSERT INTO outbox VALUES ($1)", id); err != nil {
					return err
				}
				_ = sqlkv.Tx(tx).Put("sotto/a", nil, rev) // the error is ignored
				return nil
			}
		}
		require.NoError(t, sqlkv.Do(ctx, s.db, send(1, 0)))
		require.Equal(t, 1, count())
		require.ErrorIs(t, sqlkv.Do(ctx, s.db, send(2, 0)), sql.ErrTxDone)
		require.Equal(t, 1, count(), "the outbox has a message whose session was not stored")

		canceled, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, sqlkv.Do(canceled, s.db, send(3, 0)), context.Canceled)
		require.Equal(t, 1, count())
	})
}

// A key that no row can have is refused, and the transaction is lost.
func TestRowKeys(t *testing.T) {
	onEach(t, func(t *testing.T, s *store) {
		for _, key := range []string{"", strings.Repeat("k", sesame.MaxRowKeySize+1)} {
			require.ErrorIs(t, s.Do(func(tx sesame.Tx) error {
				require.ErrorIs(t, tx.Put(key, nil, 0), sesame.ErrRowKey)
				return nil
			}), sql.ErrTxDone)
		}
	})
}

// A conflict that does not go away ends, and so does a wait whose context ends.
func TestDoEnds(t *testing.T) {
	s := newStore(t, postgres(t))
	runs := 0
	require.ErrorIs(t, sqlkv.Do(context.Background(), s.db, func(tx *sql.Tx) error {
		runs++
		return sqlkv.Tx(tx).Put("sotto/a", nil, 7)
	}), sesame.ErrConflict)
	require.Equal(t, 100, runs)

	holder := begin(t, s.db)
	defer holder.Rollback()
	require.NoError(t, sqlkv.Tx(holder).Put("sotto/a", nil, 0))
	waiting := begin(t, s.db)
	defer waiting.Rollback()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- sqlkv.TxContext(ctx, waiting).Put("sotto/a", nil, 0) }()
	for n := 0; n == 0; { // until it waits for the lock
		require.NoError(t, s.db.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").Scan(&n))
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

// Two transactions that lock two rows in opposite order: the database ends one
// of them, and that is a conflict.
func TestPostgreSQLDeadlock(t *testing.T) {
	s := newStore(t, postgres(t))
	one, two := begin(t, s.db), begin(t, s.db)
	defer one.Rollback()
	defer two.Rollback()
	require.NoError(t, sqlkv.Tx(one).Put("sotto/a", nil, 0))
	require.NoError(t, sqlkv.Tx(two).Put("sotto/b", nil, 0))
	done := make(chan error)
	go func() { done <- sqlkv.Tx(one).Put("sotto/b", nil, 0) }()
	errTwo := sqlkv.Tx(two).Put("sotto/a", nil, 0)
	errOne := <-done
	require.True(t, (errOne == nil) != (errTwo == nil), "%v, %v", errOne, errTwo)
	require.ErrorIs(t, errors.Join(errOne, errTwo), sesame.ErrConflict)
}
