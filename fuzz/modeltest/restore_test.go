package modeltest

import "github.com/sotto-im/sotto/lamport"

// restore puts the store back to its last copy. What was committed since is lost,
// also what was answered, so the epoch is raised and the mailboxes are numbered
// anew; a gap that was not told yet is told in the new numbers. The epoch does
// not come from the store: a copy that is restored twice would give it out twice.
func (m *model) restore() {
	m.stats.restores++
	m.server = m.backup.clone()
	s := &m.server
	was := s.epoch
	switch {
	case m.broken.sameEpoch:
		m.epoch = was
		return
	case m.broken.epochFromCopy:
		m.epoch = was + 1
	default:
		m.epoch++
	}
	s.epoch = m.epoch
	s.last = [conversations]uint64{}
	for k := range s.high { // what is lost may have raised the clocks of devices
		s.high[k] = min(s.high[k]+lamport.Stamp(m.epoch-was)<<32, lamport.Max)
		m.lost[k] += lamport.Stamp(m.epoch-was) << 32
	}
	for _, d := range m.devices {
		old, b := s.boxes[d.Device], &box{rows: map[uint64]entry{}}
		for n := old.acked + 1; n <= old.last; n++ {
			b.last++
			if e, ok := old.rows[n]; ok {
				b.rows[b.last] = e
			} else {
				b.trimmed = b.last
			}
			d.ledger[lamport.Position{Epoch: m.epoch, Number: b.last}] = d.ledger[lamport.Position{Epoch: was, Number: n}]
		}
		s.boxes[d.Device] = b
	}
}
