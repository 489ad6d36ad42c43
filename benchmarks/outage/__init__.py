"""What callers see while Redis hangs, dies, comes back old, or flaps: tiered and its peers under the same load."""
