package hostile

// A Class is a kind of attack.
type Class struct {
	Name, Does string
	Must       []Verdict // how it may surface, and no other way, but for what play says
	Unseen     string    // why what is missing cannot be noticed, and what holds instead
	play       func(*world)
}

// Classes are all attacks, see the table that "sotto simulate --hostile" prints. Each is played once in every run.
var Classes = joined(deliveryClasses, answerClasses, keyClasses, groupClasses)

func joined(lists ...[]Class) (all []Class) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

func surfaces(v ...Verdict) []Verdict { return v }
