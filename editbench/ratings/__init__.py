"""What people and judges say of edits: their files, what is to be rated, and the page it is rated on."""
