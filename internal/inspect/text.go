package inspect

import (
	"fmt"
	"io"
	"strings"
)

// width is how wide a report is, in columns.
const width = 100

// Text writes the report as a table, each line of at most 100 columns.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	family := ""
	if r.Family != "" {
		family = ", " + r.Family + " family"
	}
	fmt.Fprintf(&b, "%s, %d bytes%s (kind %s, SPEC.md §%s)\n", r.Name, r.Size, family, r.Kind, r.Section)
	paragraph(&b, "kind", r.Why)
	for _, o := range r.Others {
		name, why := o.Kind, "valid as well"
		if o.Family != "" {
			name += ", " + o.Family
		}
		if !o.Valid {
			why = "no: " + o.Why
		}
		paragraph(&b, "", name+": "+why)
	}
	if r.About != "" {
		paragraph(&b, "authenticated", r.About)
	}
	if r.entry.secret {
		paragraph(&b, "secret", "keys and plaintexts inside are not shown")
	}
	b.WriteString("\noffset length  field                        value\n")
	for _, f := range r.Fields {
		f.text(&b, 0)
	}
	if r.Hidden > 0 {
		fmt.Fprintf(&b, "… %d more fields\n", r.Hidden)
	}
	b.WriteByte('\n')
	for i, p := range r.Problems {
		title := ""
		if i == 0 {
			title = "wrong"
		}
		s := fmt.Sprintf("at byte %d", p.Offset)
		if p.Field != "" {
			s += ", " + p.Field
		}
		s += ": " + p.Text
		if p.Rule != "" {
			s += " (" + p.Rule + ")"
		}
		paragraph(&b, title, s)
	}
	if r.More > 0 {
		paragraph(&b, "", fmt.Sprintf("%d more", r.More))
	}
	switch {
	case r.Error != "":
		paragraph(&b, "library", "refuses it: "+strings.ReplaceAll(r.Error, "\n", ": "))
	case r.Valid:
		paragraph(&b, "valid", "well formed; that says nothing about who wrote it")
	}
	if v := r.Verdict; v != nil {
		title := "does not decrypt"
		switch {
		case v.Decrypts:
			title = "decrypts"
		case v.Unknown:
			title = "unknown"
		}
		b.WriteByte('\n')
		paragraph(&b, title, v.Reason)
		for _, d := range v.Details {
			paragraph(&b, "", d)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// text writes the line of a field, and those of its fields below it.
func (f *Field) text(b *strings.Builder, depth int) {
	name := strings.Repeat("  ", depth) + f.Name
	const left = 44
	start := fmt.Sprintf("%6d %6d  %-28s ", f.At, f.Length, name)
	value := f.Value
	if f.Note != "" {
		if value != "" {
			value += " – "
		}
		value += f.Note
	}
	for i, line := range wrap(value, width-left) {
		if i == 0 && len([]rune(start)) <= left {
			fmt.Fprintf(b, "%s%s\n", start, line)
			continue
		}
		if i == 0 { // a long name has a line of its own
			fmt.Fprintln(b, strings.TrimRight(start, " "))
		}
		fmt.Fprintf(b, "%*s%s\n", left, "", line)
	}
	for _, inner := range f.Fields {
		inner.text(b, depth+1)
	}
}

// paragraph writes a text behind its title, in the same columns.
func paragraph(b *strings.Builder, title, text string) {
	const left = 15
	if len(title) >= left {
		b.WriteString(title + "\n")
		title = ""
	}
	for _, line := range wrap(text, width-left) {
		fmt.Fprintf(b, "%-*s%s\n", left, title, line)
		title = ""
	}
}

// wrap breaks a text into lines of at most n characters, of which there is at
// least one: between words, or inside of a word that is longer than a line.
func wrap(s string, n int) (lines []string) {
	line := []rune{}
	for _, word := range strings.Fields(s) {
		r := []rune(word)
		if len(line) > 0 && len(line)+1+len(r) <= n {
			line = append(append(line, ' '), r...)
			continue
		}
		if len(line) > 0 {
			lines = append(lines, string(line))
		}
		for len(r) > n {
			lines = append(lines, string(r[:n]))
			r = r[n:]
		}
		line = r
	}
	return append(lines, string(line))
}
