"""flextier.install(), uninstall() and flextier exec."""
