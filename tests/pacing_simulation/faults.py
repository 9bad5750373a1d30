"""The faults that the simulation of pacing must find."""

from simulation.faults import Change, Mutant

_FOLDER = "_arm/protocol/pacing/"


def change(module: str, old: str, new: str) -> Change:
    return Change(_FOLDER + module, old, new)


def change_rule(name: str, old: str, new: str) -> Change:
    """Change a number of the rules."""
    return change("rules", f"    {name} = {old}\n", f"    {name} = {new}\n")


MUTANTS = (
    Mutant(
        "requests are numbered as they are answered",
        change(
            "meter",
            "        at = sent_at + self._way\n",
            "        at, number = now, self.sent - self.in_flight\n",
        ),
    ),
    Mutant(
        "requests on their way do not count",
        change("meter", "        later = self.sent - gauge.number\n", "        later = 0\n"),
    ),
    Mutant(
        "requests without a count take tokens for ever",
        change(
            "meter",
            "            if wait > 0.0 and unseen > self.in_flight:\n",
            "            if wait < 0.0:\n",
        ),
    ),
    Mutant("all tokens left are ours", change_rule("caution: float", "2.0", "1.0")),
    Mutant(
        "old counts bring good news",
        change("gauge", "        elif count < before:\n", "        else:\n"),
    ),
    Mutant("good news is believed at once", change_rule("trust: float", "0.25", "1.0")),
    Mutant(
        "bad news is believed by a quarter",
        change(
            "gauge", "if before < count < self.capacity - 2.0:", "if count < self.capacity - 2.0:"
        ),
    ),
    Mutant(
        "a 429 pauses only its call",
        change(
            "meter",
            "        self.paused_until = max(self.paused_until, now + pause + jitter)\n",
            "",
        ),
    ),
    Mutant(
        "all calls go at once after a pause",
        change(
            "meter",
            "            self.window = self.rules.window_after_pause\n",
            "            self.window = math.inf\n",
        ),
    ),
    Mutant(
        "each 429 of a burst is an event",
        change("meter", "        is_first = number > self._burst\n", "        is_first = True\n"),
    ),
    Mutant(
        "pauses never get short again",
        change("meter", "        self.refusals_in_row = 0\n", ""),
    ),
    Mutant(
        "pauses do not grow if asked waits are too short",
        change("meter", "factor = 2.0 ** min(max(0, self.refusals_in_row - 2), 2)", "factor = 1.0"),
    ),
    Mutant("no slow start", change_rule("first_window: int", "16", "128")),
    Mutant(
        "regions are not told apart",
        change(
            "meter",
            "        gauge = self.gauges.get(region)\n        if (\n",
            '        region = ""\n        gauge = self.gauges.get(region)\n        if (\n',
        ),
    ),
    Mutant(
        "answers from elsewhere count as draws",
        change(
            "meter",
            "        return min(later, self.in_flight + self.uncounted - gauge.uncounted)\n",
            "        return later\n",
        ),
    ),
    Mutant(
        "a forecast is trusted for ever",
        change(
            "gauge",
            "min(missing / self.refill, max(0.0, heard_at + silence - now))",
            "missing / self.refill",
        ),
    ),
    Mutant(
        "a level may be negative",
        change(
            "gauge",
            "self.level = max(0.0, self.level + count - before)",
            "self.level = self.level + count - before",
        ),
    ),
    Mutant(
        "the largest count is taken for the size",
        change(
            "gauge",
            "most = max(self.capacity, self.rules.stock * self.refill)",
            "most = self.capacity",
        ),
    ),
    Mutant(
        "idling saves up without a bound",
        change(
            "gauge", "        return min(most, self.level", "        return max(0.0, self.level"
        ),
    ),
    Mutant(
        "the refill is never learned",
        change("gauge", "rules.refill_weight * (measured - self.refill)", "0.0 * measured"),
    ),
    Mutant(
        "rivals are not noticed",
        change("gauge", "        self.rivals += weight * (drawn - self.rivals)\n", ""),
    ),
    Mutant(
        "a lost request stays on its way",
        change(
            "meter",
            "        self.in_flight -= 1\n        self.uncounted += 1\n",
            "        self.uncounted += 1\n",
        ),
    ),
    Mutant(
        "a cancelled call is sent",
        change("lane", "            if ticket.waiting:\n", "            if True:\n"),
    ),
    Mutant(
        "a refused call goes last",
        change(
            "pacer",
            "        ticket.lane.add_refused(ticket)\n",
            "        ticket.lane.add(ticket)\n",
        ),
    ),
    Mutant(
        "a lane keeps its turn",
        change(
            "lane",
            "        (self._long if is_long else self._short).append(lane)\n",
            "        (self._long if is_long else self._short).appendleft(lane)\n",
        ),
    ),
    Mutant(
        "a waiting lane holds connections",
        change(
            "pacer",
            "            if lane.wait(now) <= 0.0:\n                going",
            "            if lane.wait(now) < math.inf:\n                going",
        ),
    ),
    Mutant(
        "only the first meter of a lane decides",
        change(
            "lane", "        for meter in self.meters:\n", "        for meter in self.meters[:1]:\n"
        ),
    ),
    Mutant(
        "a learned rate never grows",
        change(
            "learned_rate",
            "return self.rate * (1.0 + growth * growth * growth)",
            "return self.rate + 0.0 * growth",
        ),
    ),
    Mutant(
        "successes without counts do not widen the window",
        change("meter", "rules.unrefused_share * calm", "0"),
    ),
    Mutant(
        "the end of a window is not believed",
        change(
            "meter",
            "            gauge.resets_at = now + resets_in\n",
            "            pass\n",
        ),
    ),
    Mutant(
        "the least count of a window is not believed",
        change("meter", "            gauge.settle(self.sent)\n", "            pass\n"),
    ),
    Mutant(
        "unused limits are kept",
        change("pacer", "        if now >= self._sweep_at:\n", "        if now < 0.0:\n"),
    ),
    Mutant(
        "a call keeps a forgotten lane",
        change(
            "pacer",
            "        ticket.lane = self.find_lane(ticket.lane.keys, ticket.lane.rate)\n",
            "",
        ),
        change(
            "pacer",
            "self.find_lane(lane.keys, lane.rate) if lane.forgotten else lane",
            "lane",
        ),
    ),
    # Faults of parts that the rules leave open.
    Mutant(
        "the usual case forgets the window",
        change(
            "meter",
            "min(number + room, self.sent - self.in_flight + self.window)",
            "number + room",
        ),
    ),
    Mutant(
        "the usual case forgets a pause",
        change(
            "meter",
            "            self.open_to = 0 if now < self.paused_until else int(may_follow)\n",
            "            self.open_to = int(may_follow)\n",
        ),
    ),
    Mutant(
        "a 429 leaves numbers open",
        change(
            "meter",
            "            self._burst = self._round = self.sent\n        self.open_to = 0\n",
            "            self._burst = self._round = self.sent\n",
        ),
    ),
    Mutant(
        "refused calls go in the order of their 429s",
        change("lane", "return self.order < other.order", "return self.sent_at < other.sent_at"),
    ),
    Mutant(
        "a call at once overtakes ready lanes",
        change(
            "pacer",
            "        if lane.waiting or self._ready or self.in_flight",
            "        if self.in_flight",
        ),
    ),
    Mutant("bulk is starved", change_rule("urgent_run: int", "16", "10_000")),
    Mutant(
        "an urgent call waits for the turn of its lane",
        change(
            "pacer",
            "            if lane.urgent_waiting and lane.turns is lane.group.bulk:\n",
            "            if lane.turns is None:\n",
        ),
    ),
    Mutant(
        "a rate lets two seconds of requests go at once",
        change(
            "fixed_rate", "return min(max(1.0, self.rate),", "return min(max(1.0, 2.0 * self.rate),"
        ),
    ),
    Mutant(
        "a cancelled lane stays ready",
        change(
            "pacer",
            "                lane.turns.remove(lane)\n                self._ready -= 1\n",
            "                lane.turns.remove(lane)\n",
        ),
    ),
    Mutant(
        "a connection is handed over without a look at the limits",
        change(
            "pacer", "            if meter.sent + 1 >= meter.open_to:\n", "            if False:\n"
        ),
    ),
    Mutant(
        "a paused limit is forgotten",
        change(
            "meter",
            " or self.blocked_until(now) is not None:\n            return False\n",
            ":\n            return False\n",
        ),
    ),
    Mutant(
        "a lane that is due later wakes too late",
        change(
            "pacer",
            "wakes_at < lane.wakes_at - _TOLERANCE",
            "wakes_at > lane.wakes_at + _TOLERANCE",
        ),
    ),
    Mutant(
        "each 429 of a new limit is an event",
        change("pacer", "        if sent_at <= meter.refused_at:\n", "        if False:\n"),
    ),
)
