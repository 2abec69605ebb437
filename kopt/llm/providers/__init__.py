"""Implement the protocols of language models, one module each; no other package names a protocol or its SDK.

To add a protocol, write one module here.  Its file name, with dashes for underscores, is the `provider` of the model
table; its `PROVIDER` is an instance of a subclass of `kopt.llm.provider.Provider`, which says what it must do.  Nothing
else needs to change, since every module of this folder is a provider.

SDKs are imported inside functions: every job of a run loads a provider's module, few make a call.
"""
