package envelope

// maxPacked is the largest bucket. It leaves 1 KiB of MaxCiphertext for what
// encryption adds.
const maxPacked = MaxCiphertext - 1024

// bucket is the smallest bucket of at least n bytes, for 1 ≤ n ≤ maxPacked, and
// -1 above. Buckets are 80 bytes apart up to 1680 and 5 % apart above: small
// enough steps for text, and a hundred sizes in all, so that a length tells
// little. All are multiples of 16, the block of the ciphers: encryption adds the
// same to each. SPEC.md §8.11.
func bucket(n int) int {
	b := 80
	for b < n {
		if b == maxPacked {
			return -1
		}
		b = min(b+max(80, (b/20+15)/16*16), maxPacked)
	}
	return b
}
