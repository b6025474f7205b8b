// Package secret keeps key bytes out of sight.
//
// fmt, log/slog and encoding/json print the unexported fields of a struct
// without calling any of their methods, so a redacting String method protects
// nothing once a key stands inside another struct. A pointer behind
// [sync/atomic.Pointer] is opaque to all of them, under every verb, and makes
// go vet report copies. Every exported type of the module that holds a secret
// holds it in a [Box].
package secret

import "sync/atomic"

// A Box holds a *T that no printer follows. Its zero value is empty. It must
// not be copied.
type Box[T any] struct{ p atomic.Pointer[T] }

// Load returns the content, nil if there is none.
func (b *Box[T]) Load() *T { return b.p.Load() }

// Store replaces the content.
func (b *Box[T]) Store(v *T) { b.p.Store(v) }

// Replace stores next if the content is still old, and reports whether it was.
// It is how a state machine commits: of two calls that started from one state,
// one wins.
func (b *Box[T]) Replace(old, next *T) bool { return b.p.CompareAndSwap(old, next) }

// Take empties the box and returns what was in it, nil if there was nothing:
// of two callers one gets it.
func (b *Box[T]) Take() *T { return b.p.Swap(nil) }
