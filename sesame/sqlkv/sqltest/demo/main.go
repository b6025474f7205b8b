// Command demo is `sotto demo` with its devices in SQLite files: one for each
// installation, in a directory that stays, for whoever wants to look into them.
//
//	go run ./demo --db /tmp/sotto
//
// The files hold what devices hold: session keys, in clear, and the messages.
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite"

	"github.com/sotto-im/sotto/internal/demo"
	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/sqlkv"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main without the process around it.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var o demo.Options
	dir := flags.String("db", "", "directory of the files, which must not be there yet (required)")
	flags.Uint64Var(&o.Seed, "seed", 1, "what the network does, who writes when, and who is killed")
	flags.IntVar(&o.Messages, "messages", 24, "how many messages are written in the conversation, 1 to 10000")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 || *dir == "" || o.Messages < 1 || o.Messages > demo.MaxMessages {
		flags.Usage()
		return 2
	}
	files := &files{dir: *dir}
	defer files.close()
	o.Open = files.open
	err := os.MkdirAll(filepath.Dir(*dir), 0o700)
	if err == nil {
		err = os.Mkdir(*dir, 0o700)
	}
	if err == nil {
		err = demo.Run(o, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "demo:", err)
		return 1
	}
	return 0
}

// files are the databases of a conversation.
type files struct {
	dir string
	dbs []*sql.DB
}

// open makes a database as package sqlkv advises.
func (f *files) open(name string) (demo.Do, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(f.dir, name+".db")+
		"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	f.dbs = append(f.dbs, db)
	if _, err := db.Exec(sqlkv.Schema); err != nil {
		return nil, err
	}
	ctx := context.Background()
	return func(fn func(sesame.Tx) error) error {
		return sqlkv.Do(ctx, db, func(tx *sql.Tx) error { return fn(sqlkv.Tx(tx)) })
	}, nil
}

func (f *files) close() {
	for _, db := range f.dbs {
		db.Close()
	}
}
