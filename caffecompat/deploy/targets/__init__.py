"""What inference hardware can run: tables, and the facts of layers and operators that they are asked about."""
