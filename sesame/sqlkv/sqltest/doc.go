// Package sqltest holds no code, only the tests of package sqlkv on SQLite and
// on a real PostgreSQL, in a module of its own, so that users of the library
// download neither driver. Command demo beside it is `sotto demo` on SQLite files.
//
// PostgreSQL is started by the tests themselves (postgres.sh): a server of
// its own in a temporary directory, on a Unix socket, stopped at the end.
// It needs Debian's package postgresql, or its binaries in the PATH. As root
// the script installs the package. Without PostgreSQL its tests are skipped,
// except where CI=true: there they fail.
package sqltest
