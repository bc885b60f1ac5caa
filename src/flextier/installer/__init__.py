"""flextier.install() and uninstall(): the SDK's classes build flextier's clients."""
