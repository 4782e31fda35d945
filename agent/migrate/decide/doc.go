// Package decide has all decisions of a move of a pod, as two machines without a clock, goroutine, channel or file: a
// [Source] for the node that the pod leaves, a [Target] for the one that it goes to. Package migrate drives them.
//
// A machine is given one [Input] at a time and answers with the [Action]s to carry out, in their order. Whoever drives
// it holds to this:
//
//   - the first input is [Begin];
//   - what is recorded stands on the disk, synced, before [Recorded] says so, and everything recorded is handed to
//     [RecoverSource] or [RecoverTarget] by the agent that comes after;
//   - a [Do] is started and not waited for; its end comes as [Done] or [Failed], or [Ran], once. No machine has two
//     going on at a time;
//   - a [Propose] is answered by [Answered] with what was committed, or by [Unknown]; by nothing else;
//   - after [Finish] nothing needs to be fed any more.
//
// The same inputs give the same actions, always. Inputs that come twice or late change nothing.
//
// # Rules
//
// The rules of ownership that concern a move are each one place here:
//
//	at most one copy runs          Target.mayResume: an Activate of its own has won
//	                               Move.mayThaw: the source's Abort has won, or the target's Return
//	                               Move.mayRevive: the mesh gave the pod back to the frozen copy
//	unknown is not no              core.unknown: a proposal without an answer is made again, until it has one
//	never by a read                Source.see: what the view says makes the source ask, never thaw
//	the journal comes first        core.record: nothing of a step is done before Recorded
//	a Return binds                 Target.giveBack: from its record on nobody resumes the pod there
//	the copy stays until it runs   Move.mayRetire: the frozen copy is destroyed once the move is over, and the pod another's
//	only under a lease             core.mayRun, Target.lease, Source.lease: of a pod that others may take over; and what was
//	                               won under an earlier lease is asked for again
package decide
