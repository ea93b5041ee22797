"""Patches by the thousand in one file, and in the conventions of the Hugging Face Hub."""
