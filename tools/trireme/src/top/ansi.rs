//! How ratatui's cells come to a terminal: escape sequences that every terminal of the last thirty years knows. Ratatui's
//! own backends bring more with them than the rest of `top` together.

use std::io::{self, Write};

use ratatui_core::backend::{Backend, ClearType, WindowSize};
use ratatui_core::buffer::Cell;
use ratatui_core::layout::{Position, Size};
use ratatui_core::style::{Color, Modifier};

/// A terminal behind a writer. When it is dropped the cursor is there again.
#[derive(Debug)]
pub(super) struct Ansi<W: Write> {
    out: W,
}

impl<W: Write> Ansi<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }

    /// Everything about the look of a cell that `top` makes use of.
    fn look(&mut self, colour: Color, modifier: Modifier) -> io::Result<()> {
        self.out.write_all(b"\x1b[0")?;
        let known = [
            (Modifier::BOLD, ";1"),
            (Modifier::DIM, ";2"),
            (Modifier::REVERSED, ";7"),
        ];
        for (one, code) in known {
            if modifier.contains(one) {
                self.out.write_all(code.as_bytes())?;
            }
        }
        let code = match colour {
            Color::Red => ";31",
            Color::Green => ";32",
            Color::Yellow => ";33",
            Color::Cyan => ";36",
            _ => "",
        };
        self.out.write_all(code.as_bytes())?;
        self.out.write_all(b"m")
    }
}

impl<W: Write> Drop for Ansi<W> {
    fn drop(&mut self) {
        let _ = self.show_cursor();
    }
}

impl<W: Write> Backend for Ansi<W> {
    type Error = io::Error;

    fn draw<'a, I: Iterator<Item = (u16, u16, &'a Cell)>>(&mut self, content: I) -> io::Result<()> {
        let (mut next, mut look) = (None, None);
        for (x, y, cell) in content {
            if next != Some((x, y)) {
                write!(self.out, "{}", termion::cursor::Goto(x + 1, y + 1))?;
            }
            if look != Some((cell.fg, cell.modifier)) {
                look = Some((cell.fg, cell.modifier));
                self.look(cell.fg, cell.modifier)?;
            }
            self.out.write_all(cell.symbol().as_bytes())?;
            next = Some((x + 1, y));
        }
        self.look(Color::Reset, Modifier::empty())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        write!(self.out, "{}", termion::cursor::Hide)?;
        self.out.flush()
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        write!(self.out, "{}", termion::cursor::Show)?;
        self.out.flush()
    }

    /// Nobody asks: the whole screen is drawn by positions.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        write!(self.out, "{}", termion::cursor::Goto(x + 1, y + 1))?;
        self.out.flush()
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, what: ClearType) -> io::Result<()> {
        match what {
            ClearType::All => write!(self.out, "{}", termion::clear::All)?,
            ClearType::AfterCursor => write!(self.out, "{}", termion::clear::AfterCursor)?,
            ClearType::BeforeCursor => write!(self.out, "{}", termion::clear::BeforeCursor)?,
            ClearType::CurrentLine => write!(self.out, "{}", termion::clear::CurrentLine)?,
            ClearType::UntilNewLine => write!(self.out, "{}", termion::clear::UntilNewline)?,
        }
        self.out.flush()
    }

    fn size(&self) -> io::Result<Size> {
        let (width, height) = termion::terminal_size()?;
        Ok(Size { width, height })
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        let pixels = Size::ZERO;
        Ok(WindowSize {
            columns_rows: self.size()?,
            pixels,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_follow_each_other_need_one_position_and_one_look() {
        let mut bytes = Vec::new();
        let mut backend = Ansi::new(&mut bytes);
        let mut cells = [Cell::new("a"), Cell::new("b"), Cell::new("c")];
        cells[2].fg = Color::Red;
        cells[2].modifier = Modifier::BOLD;
        let placed = [(4, 1, &cells[0]), (5, 1, &cells[1]), (0, 2, &cells[2])];
        backend.draw(placed.into_iter()).unwrap();
        drop(backend);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text, "\x1b[2;5H\x1b[0mab\x1b[3;1H\x1b[0;1;31mc\x1b[0m\x1b[?25h");
    }
}
