// Package broken breaks the rules of ownership one at a time, to show that the simulation notices. A break is an edit of the
// product's own sources that only the compiler sees (go build -overlay): nothing of it is in the product.
package broken
