"""What does the whole life cycle look like on real data? `recsys demo`."""

from recsys.demo.life_cycle import demo

__all__ = ["demo"]
