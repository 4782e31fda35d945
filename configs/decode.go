package configs

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// document is a configuration while it is read: where each field stands, and what is wrong so far.
type document struct {
	places   map[string]*token.Token // by path, such as overlay.vni and join[0]
	problems []Problem
}

// read fills c with what data says and leaves alone what it doesn't mention.
func read(data []byte, c *Config) *document {
	d := &document{places: make(map[string]*token.Token)}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		d.syntax(err)
		return d
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			bodies = append(bodies, doc.Body)
		}
	}
	if len(bodies) > 1 {
		d.report(bodies[1].GetToken(), "", "a second document", "one YAML document")
		return d
	}
	if len(bodies) == 1 {
		d.decode("", bodies[0], reflect.ValueOf(c).Elem(), "")
	}
	return d
}

func (d *document) syntax(err error) {
	if e, ok := errors.AsType[yaml.Error](err); ok {
		d.report(e.GetToken(), "", "not YAML: "+e.GetMessage(), "")
		return
	}
	d.report(nil, "", "not YAML: "+err.Error(), "")
}

// report notes a problem at tk, or at none if it is nil.
func (d *document) report(tk *token.Token, field, why, valid string) {
	p := Problem{Field: field, Why: why, Valid: valid}
	if tk != nil && tk.Position != nil {
		p.Line, p.Column = tk.Position.Line, tk.Position.Column
	}
	d.problems = append(d.problems, p)
}

// decode stores what node says into v. want says what is valid there.
func (d *document) decode(path string, node ast.Node, v reflect.Value, want string) {
	tk := node.GetToken()
	if path != "" {
		d.places[path] = tk
	}
	wrong := func() { d.report(tk, path, fmt.Sprintf("%s: %s", path, found(node)), want) }
	if node.Type() == ast.NullType {
		if strings.HasSuffix(path, "]") {
			wrong()
		}
		return // "join:" with nothing behind it says nothing
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		s, isString := node.(*ast.StringNode)
		if !isString || text.UnmarshalText([]byte(s.Value)) != nil {
			wrong()
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(path, node, v)
	case reflect.Slice:
		sequence, ok := node.(*ast.SequenceNode)
		if !ok {
			wrong()
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(sequence.Values), len(sequence.Values)))
		for i, value := range sequence.Values {
			d.decode(fmt.Sprintf("%s[%d]", path, i), value, v.Index(i), want)
		}
	case reflect.Map:
		d.decodeMap(path, node, v, want)
	case reflect.String:
		s, ok := node.(*ast.StringNode)
		if !ok {
			wrong()
			return
		}
		v.SetString(s.Value)
	case reflect.Uint16, reflect.Uint32:
		i, ok := node.(*ast.IntegerNode)
		if !ok {
			wrong()
			return
		}
		n, ok := i.Value.(uint64) // a negative number is an int64
		if !ok || v.OverflowUint(n) {
			wrong()
			return
		}
		v.SetUint(n)
	default:
		panic("configs: field " + path + " has a type that decode doesn't know")
	}
}

func (d *document) decodeStruct(path string, node ast.Node, v reflect.Value) {
	mapping, ok := node.(*ast.MappingNode)
	if !ok {
		what := path
		if what == "" {
			what = "the file"
		}
		d.report(node.GetToken(), path, fmt.Sprintf("%s: %s", what, found(node)), "fields and their values: "+strings.Join(fieldNames(v.Type()), ", "))
		return
	}
	seen := make(map[string]bool)
	for _, entry := range mapping.Values {
		key := entry.Key.GetToken()
		name := key.Value
		i := fieldIndex(v.Type(), name)
		switch {
		case i < 0:
			d.unknown(key, path, name, fieldNames(v.Type()))
		case seen[name]:
			d.report(key, name, fmt.Sprintf("field %q stands here a second time", name), "")
		default:
			seen[name] = true
			d.decode(join(path, name), entry.Value, v.Field(i), v.Type().Field(i).Tag.Get("want"))
		}
	}
}

// decodeMap stores names and their texts. Each stands at path[name].
func (d *document) decodeMap(path string, node ast.Node, v reflect.Value, want string) {
	mapping, ok := node.(*ast.MappingNode)
	if !ok {
		d.report(node.GetToken(), path, fmt.Sprintf("%s: %s", path, found(node)), want)
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, entry := range mapping.Values {
		key := entry.Key.GetToken()
		name := reflect.ValueOf(key.Value)
		if v.MapIndex(name).IsValid() {
			d.report(key, path, fmt.Sprintf("%s: %q stands here a second time", path, key.Value), "")
			continue
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.decode(fmt.Sprintf("%s[%s]", path, key.Value), entry.Value, value, want)
		v.SetMapIndex(name, value)
	}
}

func (d *document) unknown(key *token.Token, path, name string, valid []string) {
	why := fmt.Sprintf("unknown field %q", name)
	if path != "" {
		why += " in " + path
	}
	if meant := nearest(name, valid); meant != "" {
		why += fmt.Sprintf("; did you mean %q?", meant)
	}
	d.report(key, join(path, name), why, strings.Join(valid, ", "))
}

// found says what a node is, for people.
func found(node ast.Node) string {
	switch n := node.(type) {
	case *ast.StringNode:
		return fmt.Sprintf("%q is not valid", n.Value)
	case *ast.IntegerNode, *ast.FloatNode:
		return "the number " + n.GetToken().Value + " is not valid"
	case *ast.BoolNode:
		return "the boolean " + n.GetToken().Value + " is not valid (in quotes it would be text)"
	case *ast.MappingNode:
		return "fields are not valid here"
	case *ast.SequenceNode:
		return "a list is not valid here"
	}
	return strings.ToLower(node.Type().String()) + " is not valid here"
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("hidden") == "" {
			names = append(names, f.Tag.Get("yaml"))
		}
	}
	return names
}

func fieldIndex(t reflect.Type, name string) int {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("yaml") == name {
			return i
		}
	}
	return -1
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
