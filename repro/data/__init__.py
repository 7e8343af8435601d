"""Images in: `manifest` says what is prepared (desk half); `prepare` and `load` do the work (bench half)."""
