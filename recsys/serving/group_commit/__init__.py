"""How do many requests share one commit of the event log, and what waits when the log does not keep up?

One thread writes all that waits as one transaction. What comes while it commits is the next group, so a single writer
waits for nobody and many share a commit. Two durabilities:

- acknowledged: a call returns when its group is committed;
- buffered: a call with exposures returns when they are in the queue. The thread gathers for `gather_seconds` first.
  Outcomes are acknowledged all the same: nobody could send them again who believes that they are kept.

The queue is bounded in rows. When it is full a caller waits, and is refused when its time is over. When the log cannot
be written, acknowledged calls are refused (at once, until the next attempt is due), and buffered ones stay queued and
are written by a later attempt; the pauses between attempts double up to a bound, with jitter. A value that the log
cannot keep fails its own call only: its group is written again one call at a time.

- `log`: `GroupCommit`, the port `EventLog` that callers have
- `writer`: the queue, and the thread that empties it
- `tally`: how often the router gave each arm, told to the log with the exposures
- `calls`: what one caller wants written, and many calls as one group
"""

from recsys.serving.group_commit.log import Durability, GroupCommit

__all__ = ["Durability", "GroupCommit"]
