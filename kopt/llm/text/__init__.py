"""Find what was asked for in the text of a reply; total functions, which run nothing and never raise.

1. `answer` takes the answer out of a text: its reasoning is no answer, and neither is text that makes no kernel.
2. `blocks` finds blocks of code, fenced, tagged, in JSON or bare, and mends characters that no module may hold.
3. `edits` finds SEARCH/REPLACE blocks and unified diffs, and applies them to the kernel that they change.
4. `extract` chooses: the module that defines the entry point and a Triton kernel, else an edit of the parent.
5. `json_reply` finds the JSON object in a reply.

What a reply should hold is the business of `kopt.prompts`, what its kernel is worth that of the judges.
"""
