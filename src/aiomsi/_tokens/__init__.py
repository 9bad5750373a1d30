"""The single flight: any number of callers, event loops and threads share one fetch of a token.

Theory of operation
===================

A `Slot` stands for one token. It decides and publishes. It holds the `SlotState`, the `Flight` that
fetches the next token, and counts. The `SlotState` is the token and the results of its fetches; its
values and pure functions are in `state`. A flight is one fetch, with its task and the callers that
wait for it. A `Waiter` is one of those callers, in the caller's event loop.

**States.** A slot has a flight or has none; that is its whole state of concurrency. `state.decide`
alone decides on the next step of a caller. The step depends on the flight and on the token's
freshness (`token.get_freshness`):

=================  =================================  =========================================
token              no flight                          a flight is under way
=================  =================================  =========================================
FRESH              return it                          return it
STALE              return it, start one if allowed    return it
STALE and starved  as LATE                            as LATE
LATE               start one if allowed, wait a       wait a little, then return the old token
                   little
EXPIRED or NONE    start one and wait, or raise the   wait
                   last failure if it is recent
=================  =================================  =========================================

A slot is *starved* after `RefreshPolicy.max_unattended_losses` flights in a row were lost without a
waiting caller. Each event loop ended before the host responded, as with one `asyncio.run` per job.
The next caller waits, and so keeps its loop alive until the token arrives. If that flight is lost
as well and no caller still waits for it, for example because of the caller's own time-out, waiting
did not help: the slot is no longer starved, and counts unattended losses from 0 again. If callers
in other loops still wait for a usable token's refresh, the slot stays starved. If a starved slot
has no usable token, its flight waits for the back-off before it fetches. Otherwise callers with
short time-outs would cause one request each.

"If allowed" means: after the back-off of the last failure, and after a `Retry-After` of the host
(`HostBackoff`). A caller without a usable token starts a flight during a `Retry-After` that fits
the flight's deadline, and the fetch waits until the `Retry-After` is over.

A flight is new (in the slot, without a task), flying (its task runs), or out (no longer in the
slot). A flight that is out can neither publish nor wake a waiter, even if its task still runs. It
never returns to the slot.

**Ownership.** The fetch runs in a separate task. The task's context is empty except for
`current_flights` and the suppression of tracing. No caller awaits the task: each waits on a future
that it alone owns. So a caller sees a `CancelledError` only if it was cancelled itself. A caller's
cancellation, time-out or context does not reach other callers. The slot holds the task until its
last step, in `Slot._tasks`.

**Lifetime.** A flight belongs to the slot. If callers are cancelled or credentials are closed, it
goes on, and publishes as long as its event loop runs. Closing a credential wakes the callers that
came through it. A slot is private if no credential that is opened later can reach it. Only a
private slot cancels its flight when the last credential is closed. That is a loss with a back-off,
as is the end of the loop. The `SlotTable` drops a slot when no open credential uses it and it is
idle: it has no usable token, flight, task or recent back-off.

**Threads.** `Slot._lock` guards the state of a slot. It is held for a few statements at a time,
never across an `await` and never while a task is created (an eager task would run at once, and take
the lock). It is reentrant, because a signal handler, or the finalizer of a coroutine of a closed
loop, may run between those statements. Futures, tasks and timers are used in the thread of their
own loop only; other threads use `call_soon_threadsafe`. Reading `Slot.token` needs no lock: it is
one reference to an immutable value.

**End.** A flight ends exactly once, by leaving `Slot._flight`. The slot takes it out under the
lock, sets `Flight.is_out`, and wakes its waiters. The flight calls `Flight.on_end`, which is
`Slot._publish`, for every event that may end it: the fetch returned, the task is done, the last
deadline is over, the loop does not respond. `Slot._publish` compares the flight by identity, so
each call after the first finds another flight or none, and has no effect. A waiter is woken with a
value:

- an `AccessToken`, which was published in the slot before;
- a `Failure`, from which each caller creates a separate exception;
- `NoResult.LOST`: the task was cancelled, or its loop is closed or does not respond. The first
  caller that decides after that starts a new generation. The loss is a `Failure` instead after
  `RefreshPolicy.max_restarts` losses of one caller, or after as many in close succession;
- `NoResult.SUPERSEDED`: the token was rejected, or the slot emptied, while the flight was under
  way, so its result would be outdated;
- `NoResult.CLOSED`: the credential that this waiter came through was closed;
- `NoResult.TIMED_OUT`: the longest wait (`Waiter.bound`) is over, and the old token is still
  usable.

**Losses.** In the flight's own loop the flight ends if its task is cancelled, or at its last
deadline (`Flight.overdue`). A later caller checks whether that loop is closed or the last deadline
is over. Waiters in another loop share a `LoopWaiters`. `Flight.ping` pings the flight's loop from
there while they wait. It notices a closed loop at once, and a silent loop after
`RefreshPolicy.loop_ping_timeout`. After a fork the child has no flight.

**Uncounted time.** The last deadline is postponed by the time in which the flight's loop was
blocked, and by the time that the fetch waits for a turn at its host. A `RunningTimeout` measures
both; the fetch adds it to `Flight.timeouts`. If the waiters' own loop was blocked, an unanswered
ping shows no loss, and the flight's loop is pinged again.

**Invariants.** At most one fetch per slot and generation; a flight that has left the slot does not
publish; a flight that has ended has no waiters; no error while a usable token is held; failed
fetches are at least the back-off apart.

**Deliberately not handled.**

- A fetch that blocks its loop's thread can't be stopped, only abandoned.
- An event loop that is closed under a running fetch, without its tasks being cancelled, leaves
  asyncio's own warning about the flight's task.
- `SlotStats.served_stale` is mostly counted without the lock, so it may miss a call.
- A fetch that calls `get_token` for its own token raises, however many other fetches lie between.
  Two fetches that were started by different callers and then wait for each other do not raise:
  their deadlines end them.
- A task that a fetch starts may call `get_token` for the token of that fetch, and waits for it. If
  the fetch waits for the task in turn, by other means than awaiting it or a `gather`, the fetch's
  deadline ends both.
- A slot that is dropped just as another thread uses it serves that one call.
- A `get_token` call from a signal handler or finalizer can re-enter a slot in the middle of a
  decision. In rare cases it then raises although a token was available. The alternative would be a
  deadlock.
- A `KeyboardInterrupt` between the decision to start a flight and its launch leaves a flight
  without a task. Its last deadline ends it.
"""
