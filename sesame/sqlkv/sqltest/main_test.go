package sqltest

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/sqlkv"
	"github.com/sotto-im/sotto/sesame/txtest"
)

func TestMain(m *testing.M) {
	if job := os.Getenv("SQLTEST_CHILD"); job != "" {
		child(job) // does not return
	}
	code := m.Run()
	server.stop()
	os.Exit(code)
}

// A source is what sql.Open takes: a database that other processes can open
// too.
type source struct{ driver, dsn string }

func (s source) open() (*sql.DB, error) { return sql.Open(s.driver, s.dsn) }

// sqlite returns a new database file with the table in it.
func sqlite(t testing.TB, options string) source {
	t.Helper()
	s := source{"sqlite", "file:" + filepath.Join(t.TempDir(), "test.db") + "?" + options}
	create(t, s)
	return s
}

// What package sqlkv advises, and what an application gets that does not
// listen.
const (
	advised  = "_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
	deferred = "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"
	bare     = "_pragma=busy_timeout(1000)" // rollback journal, deferred
)

func sqliteAdvised(t *testing.T) source  { return sqlite(t, advised) }
func sqliteDeferred(t *testing.T) source { return sqlite(t, deferred) }
func sqliteBare(t *testing.T) source     { return sqlite(t, bare) }

func create(t testing.TB, s source) {
	t.Helper()
	db, err := s.open()
	require.NoError(t, err)
	defer db.Close()
	for range 2 { // twice does no harm
		_, err = db.Exec(sqlkv.Schema)
		require.NoError(t, err)
	}
}

// server is the PostgreSQL of this run.
var server postgresServer

type postgresServer struct {
	start sync.Once
	dir   string
	err   error
	stdin io.Closer
	cmd   *exec.Cmd
	count atomic.Int32
}

func (p *postgresServer) run() {
	p.cmd = exec.Command("./postgres.sh")
	p.cmd.Stderr = os.Stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		p.err = err
		return
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		p.err = err
		return
	}
	if p.err = p.cmd.Start(); p.err != nil {
		return
	}
	p.stdin = stdin
	line, err := bufio.NewReader(stdout).ReadString('\n')
	dir, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ok {
		p.err = fmt.Errorf("postgres.sh: %w", p.cmd.Wait())
		return
	}
	p.dir = dir
}

func (p *postgresServer) stop() {
	if p.dir != "" {
		p.stdin.Close()
		_ = p.cmd.Wait()
	}
}

// postgres returns a new schema with the table in it.
func postgres(t *testing.T) source {
	t.Helper()
	server.start.Do(server.run)
	if server.err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no PostgreSQL: %v", server.err)
		}
		t.Skipf("NO POSTGRESQL, NOT TESTED: %v", server.err)
	}
	name := fmt.Sprintf("t%d", server.count.Add(1))
	dsn := fmt.Sprintf("host=%s user=sotto dbname=postgres", server.dir)
	db, err := sql.Open("pgx", dsn)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("CREATE SCHEMA " + name)
	require.NoError(t, err)
	s := source{"pgx", dsn + " search_path=" + name}
	create(t, s)
	return s
}

// A store is a database behind package sqlkv.
type store struct {
	source source
	db     *sql.DB
	level  sql.IsolationLevel
	t      testing.TB
}

func newStore(t testing.TB, s source) *store {
	t.Helper()
	db, err := s.open()
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return &store{source: s, db: db, t: t}
}

// Do is sqlkv.Do, or, at another isolation level than the default, an
// application's own function.
func (s *store) Do(fn func(tx sesame.Tx) error) error {
	ctx := context.Background()
	if s.level == sql.LevelDefault {
		return sqlkv.Do(ctx, s.db, func(tx *sql.Tx) error { return fn(sqlkv.TxContext(ctx, tx)) })
	}
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: s.level})
	if err == nil {
		defer tx.Rollback()
		if err = fn(sqlkv.Tx(tx)); err == nil {
			err = tx.Commit()
		}
	}
	if sqlkv.Conflict(err) {
		return fmt.Errorf("%w: %w", sesame.ErrConflict, err)
	}
	return err
}

// Reopen opens the database once more. The old connections stay open, with
// whatever they hold: closing them would be an orderly end.
func (s *store) Reopen() (txtest.Store, error) {
	db, err := s.source.open()
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { db.Close() })
	return &store{source: s.source, db: db, level: s.level, t: s.t}, nil
}
