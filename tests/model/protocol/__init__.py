"""An explicit-state model of the protocol: every schedule of a few processes on one key, breadth first.

`rules` names what can be switched off, `state` is what the world is made of, `calls`, `keeper`, `link` and `faults` are
its steps, `scenarios` says who does what and what may go wrong, and `explore` looks for broken promises.
The names are those of the code: floor, leader, owed, mark, generation, breaker, learn, admit, confirm (an epoch ends with `renew`).
"""
