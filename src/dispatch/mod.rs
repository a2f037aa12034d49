//! Due messages → providers: claim blocks, mark, render, send, commit, retry.
