"""What the engines that write text share: forms of answers, tool calls, thoughts, grammars."""
