package decide

// A Step is something that a driver does for a machine, or records.
type Step string

// The steps of the pipeline. The source goes through all of them; of those that the target does, the source waits for
// word.
const (
	Preflight Step = "preflight"
	Reserve   Step = "reserve"
	Presync   Step = "presync"
	Freeze    Step = "freeze"
	Final     Step = "final"
	Restore   Step = "restore" // at the target: up to CRIU's post-restore hook, running nothing
	Activate  Step = "activate"
	Release   Step = "release" // at the target: the held packets go to the pod, which runs
	Retire    Step = "retire"  // the frozen copy is destroyed
)

// How a move ends at its source when it does not end with Retire.
const (
	Thaw   Step = "thaw"   // the frozen copy goes on as if nothing had been
	Revive Step = "revive" // it goes on though another copy has run since: without its TCP connections
)

// What else a target does.
const (
	Prepare Step = "prepare" // room for what will arrive, the pod's packets held
	Resume  Step = "resume"  // lets the restored pod run
	Return  Step = "return"  // is recorded only: from then on the target never resumes the pod
	Cancel  Step = "cancel"  // kills what was restored, unless it has run, see [Ran]
	Discard Step = "discard" // removes all that has arrived, and hands held packets back
	Destroy Step = "destroy" // removes the pod, even if it has run: another node owns it
	Forget  Step = "forget"  // removes what only the move needed
)

// A Milestone is what the target tells the source.
type Milestone string

// The milestones of a take-over. Restored and Activated come in either order.
const (
	Restored  Milestone = "restored"
	Activated Milestone = "activated"
	Resumed   Milestone = "resumed"
	Released  Milestone = "released"
	GaveUp    Milestone = "failed"
)

// A Stage is a row of the pipeline as its source goes through it.
type Stage struct {
	Step Step
	// Until is the milestone that ends a step of the target's, "" if the source does it.
	Until Milestone
}

// Pipeline is the way of a move, from top to bottom. Preflight changes nothing and is not recorded; up to Restore
// everything can be undone.
func Pipeline() []Stage {
	return []Stage{
		{Step: Preflight},
		{Step: Reserve},
		{Step: Presync},
		{Step: Freeze},
		{Step: Final},
		{Step: Restore, Until: Restored},
		{Step: Activate, Until: Activated}, // the point of no return
		{Step: Release, Until: Released},
		{Step: Retire},
	}
}
