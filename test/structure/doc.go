// Package structure holds the guards of the source tree itself: who may import whom, where files may lie, how packages
// are named and documented. Each guard is run on the tree, which it must pass, and on a small tree that breaks it,
// which it must report: a guard that can't fail guards nothing.
package structure
