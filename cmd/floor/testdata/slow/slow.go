// Package slow is what the guard is tested on.
package slow
