//! (header follows with the room's first file)
