"""Remembers what it is told."""

from will.decorators import respond_to
from will.plugin import WillPlugin

from tiered.integrations.will import AtomicStorageMixin


class MemoryPlugin(AtomicStorageMixin, WillPlugin):
    """With the mixin, `append` loses nothing however many processes append at the same time."""

    @respond_to("^remember (?P<thing>.+)")
    def remember(self, message, thing):
        self.append("things", thing)
        self.say(f"I will remember {thing}.", message=message)

    @respond_to("^what do you remember")
    def recall(self, message):
        things = self.load("things", [])
        self.say(f"I remember {len(things)}: {', '.join(things)}.", message=message)
