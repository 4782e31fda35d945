package sim

// A rarity is something that a good run of the simulation must have met: what never happened was never tested.
type rarity string

// The rarities, in the order in which they are told.
const (
	unknownOutcome  rarity = "unknown_outcome"
	lateApply       rarity = "late_apply"
	appliedAgain    rarity = "duplicate_in_log"
	duplicated      rarity = "message_duplicated"
	strayed         rarity = "message_late"
	linkCut         rarity = "link_cut"
	elections       rarity = "election"
	votersChanged   rarity = "servers_changed"
	agentDied       rarity = "agent_died"
	hostLost        rarity = "host_lost"
	hostSlept       rarity = "host_suspended"
	hostPaused      rarity = "host_paused"
	viewStalled     rarity = "view_stalled"
	clockJumped     rarity = "clock_jumped"
	fenceDied       rarity = "fence_died"
	diskFull        rarity = "disk_full"
	criuDied        rarity = "criu_died"
	restoreFailed   rarity = "restore_failed"
	corrupted       rarity = "image_corrupted"
	moved           rarity = "move_done"
	cancelled       rarity = "move_cancelled"
	abortWon        rarity = "abort_beat_activate"
	activateWon     rarity = "activate_beat_abort"
	returned        rarity = "move_returned"
	movesTakenUp    rarity = "move_taken_up_from_journal"
	foundRunning    rarity = "found_running_after_restart"
	failedOver      rarity = "failover"
	failedOverMove  rarity = "failover_during_move"
	revived         rarity = "frozen_copy_revived"
	refusedFailover rarity = "failover_of_earlier_reign_refused"
	startedOver     rarity = "started_over"
	lossReported    rarity = "loss_reported"
	leaseRefused    rarity = "lease_refused"
	fenceFired      rarity = "fence_fired"
	fenceFiredAlone rarity = "fence_fired_without_agent"
	fenceThawed     rarity = "fence_thawed"
	mutedAlone      rarity = "muted_without_fence"
)

// Rare lists all rarities.
func rare() []rarity {
	return []rarity{
		unknownOutcome, lateApply, appliedAgain, duplicated, strayed, linkCut, elections, votersChanged,
		agentDied, hostLost, hostSlept, hostPaused, viewStalled, clockJumped, fenceDied, diskFull, criuDied, restoreFailed, corrupted,
		moved, cancelled, abortWon, activateWon, returned, movesTakenUp, foundRunning,
		failedOver, failedOverMove, revived, refusedFailover, startedOver, lossReported,
		leaseRefused, fenceFired, fenceFiredAlone, fenceThawed, mutedAlone,
	}
}

// rarities counts them.
type rarities map[rarity]int

func (r rarities) add(x rarity) { r[x]++ }
