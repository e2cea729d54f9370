//! Reads the plain data of a Python pickle, as far as a memory snapshot needs it.
//!
//! Own code, since the crate for this copies what is shared: the call stacks of a snapshot are
//! shared among its events, and among the stacks are frames. Here a value is a number or an index;
//! of dictionaries only wanted keys are kept, objects are passed over, and nothing is executed.
//! Protocols 2 to 5; the opcodes are described in Python's `pickletools`.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    io::{self, BufRead, Read},
};

/// The first byte of a pickle, followed by its protocol.
pub(super) const PROTO: u8 = 0x80;

/// A value; lists, dictionaries and texts are looked up in the pickle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Int(i64),
    Node(u32),
    /// Whatever a snapshot's figures don't need.
    Other,
}

#[derive(Debug)]
enum Node {
    /// A text, and its number if it is a wanted key.
    Text(Box<str>, Option<u8>),
    List(Vec<Value>),
    Dict(Vec<(u8, Value)>),
}

/// All values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle<'k> {
    keys: &'k [&'k str],
    nodes: Vec<Node>,
    pub(super) root: Value,
}

/// The byte at which something is wrong, and what.
pub(super) type Broken = (u64, String);

impl<'k> Pickle<'k> {
    /// Reads a pickle, of whose dictionaries `keys` are kept.
    pub(super) fn read(input: impl BufRead, keys: &'k [&'k str]) -> Result<Self, Broken> {
        let pickle = Self { keys, nodes: Vec::new(), root: Value::Other };
        let (stack, marks, memo) = (Vec::new(), Vec::new(), HashMap::new());
        let mut machine = Machine { input, offset: 0, pickle, stack, marks, memo };
        loop {
            let begin = machine.offset;
            let step = machine.array().and_then(|[opcode]| machine.step(opcode));
            match step {
                Ok(true) => {}
                Ok(false) => return Ok(machine.pickle),
                Err(Stop::Input(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    let reason =
                        format!("the file ends within the pickle: it is truncated ({error})");
                    return Err((machine.offset, reason));
                }
                Err(Stop::Input(error)) => return Err((machine.offset, error.to_string())),
                Err(Stop::Wrong(reason)) => return Err((begin, reason)),
            }
        }
    }

    pub(super) fn list(&self, value: Value) -> Option<&[Value]> {
        match self.node(value) {
            Some(Node::List(items)) => Some(items),
            _ => None,
        }
    }

    pub(super) fn text(&self, value: Value) -> Option<&str> {
        match self.node(value) {
            Some(Node::Text(text, _)) => Some(text),
            _ => None,
        }
    }

    /// What a dictionary has under one of the wanted keys.
    pub(super) fn get(&self, dict: Value, key: &str) -> Option<Value> {
        let Some(Node::Dict(entries)) = self.node(dict) else { return None };
        let number = self.key(key)?;
        // The last one counts, as when Python sets them in turn.
        entries.iter().rev().find(|(key, _)| *key == number).map(|&(_, value)| value)
    }

    /// The same, where it is no negative number.
    pub(super) fn number(&self, dict: Value, key: &str) -> Option<u64> {
        match self.get(dict, key)? {
            Value::Int(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    fn key(&self, text: &str) -> Option<u8> {
        self.keys.iter().position(|key| *key == text).map(|index| index as u8)
    }

    fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(index) => self.nodes.get(index as usize),
            _ => None,
        }
    }

    fn add(&mut self, node: Node) -> Result<Value, Stop> {
        let index = u32::try_from(self.nodes.len()).map_err(|_| wrong("it is too large"))?;
        self.nodes.push(node);
        Ok(Value::Node(index))
    }
}

enum Stop {
    Input(io::Error),
    Wrong(String),
}

fn wrong(reason: impl Into<String>) -> Stop {
    Stop::Wrong(reason.into())
}

/// Python's machine for pickles.
struct Machine<'k, R> {
    input: R,
    /// Bytes read so far.
    offset: u64,
    pickle: Pickle<'k>,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
}

impl<R: BufRead> Machine<'_, R> {
    /// Does what an opcode says; `false` after the last one.
    fn step(&mut self, opcode: u8) -> Result<bool, Stop> {
        match opcode {
            PROTO => _ = self.array::<1>()?,
            // The length of a frame.
            0x95 => _ = self.array::<8>()?,
            b'.' => {
                self.pickle.root = self.pop()?;
                return Ok(false);
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => _ = self.marks.pop(),
            b'0' => _ = self.pop()?,
            b'1' => _ = self.pop_mark()?,
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.remember(opcode)?,
            b'K' | b'M' | b'J' | 0x8a | 0x8b => self.integer(opcode)?,
            // None, True, False; an empty set; a float.
            b'N' | 0x88 | 0x89 | 0x8f => self.stack.push(Value::Other),
            b'G' => {
                self.array::<8>()?;
                self.stack.push(Value::Other);
            }
            0x8c | b'X' | 0x8d | b'U' | b'T' => self.text(opcode)?,
            b'C' | b'B' | 0x8e | 0x96 => {
                self.bytes(opcode)?;
                self.stack.push(Value::Other);
            }
            b']' | b')' | b'l' | b't' | 0x85..=0x87 | b'a' | b'e' => self.list(opcode)?,
            b'}' | b'd' | b's' | b'u' => self.dict(opcode)?,
            0x90 => _ = self.pop_mark()?,
            0x91 => {
                self.pop_mark()?;
                self.stack.push(Value::Other);
            }
            b'c' | b'R' | b'b' | 0x81 | 0x92 | 0x93 => self.object(opcode)?,
            _ => return Err(wrong(format!("opcode {opcode:#04x} is none of a memory snapshot"))),
        }
        Ok(true)
    }

    fn remember(&mut self, opcode: u8) -> Result<(), Stop> {
        let number = match opcode {
            b'q' | b'h' => u32::from(u8::from_le_bytes(self.array()?)),
            b'r' | b'j' => u32::from_le_bytes(self.array()?),
            _ => self.memo.len() as u32,
        };
        if matches!(opcode, b'h' | b'j') {
            let value = self.memo.get(&number).copied();
            self.stack.push(value.ok_or_else(|| wrong(format!("nothing has number {number}")))?);
        } else {
            self.memo.insert(number, self.top()?);
        }
        Ok(())
    }

    fn integer(&mut self, opcode: u8) -> Result<(), Stop> {
        let value = match opcode {
            b'K' => Value::Int(u8::from_le_bytes(self.array()?).into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            _ => {
                let bytes = self.bytes(opcode)?;
                let sign = bytes.last().is_some_and(|last| *last >= 0x80);
                let mut whole = [if sign { 0xff } else { 0 }; 8];
                // Larger ones are settings.
                match whole.get_mut(..bytes.len()) {
                    Some(low) => {
                        low.copy_from_slice(&bytes);
                        Value::Int(i64::from_le_bytes(whole))
                    }
                    None => Value::Other,
                }
            }
        };
        self.stack.push(value);
        Ok(())
    }

    fn text(&mut self, opcode: u8) -> Result<(), Stop> {
        let bytes = self.bytes(opcode)?;
        let text: Box<str> = String::from_utf8_lossy(&bytes).into();
        let key = self.pickle.key(&text);
        let value = self.pickle.add(Node::Text(text, key))?;
        self.stack.push(value);
        Ok(())
    }

    fn list(&mut self, opcode: u8) -> Result<(), Stop> {
        let items = match opcode {
            b']' | b')' => Vec::new(),
            b'a' => vec![self.pop()?],
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0..opcode - 0x84 {
                    items.push(self.pop()?);
                }
                items.reverse();
                items
            }
            _ => self.pop_mark()?,
        };
        if matches!(opcode, b'a' | b'e') {
            // Objects may be extended as well.
            if let Value::Node(index) = self.top()?
                && let Node::List(list) = &mut self.pickle.nodes[index as usize]
            {
                list.extend(items);
            }
        } else {
            let list = self.pickle.add(Node::List(items))?;
            self.stack.push(list);
        }
        Ok(())
    }

    fn dict(&mut self, opcode: u8) -> Result<(), Stop> {
        let items = match opcode {
            b'}' => Vec::new(),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                vec![key, value]
            }
            _ => self.pop_mark()?,
        };
        let nodes = &self.pickle.nodes;
        let wanted = |pair: &[Value]| match *pair {
            [Value::Node(key), value] => match &nodes[key as usize] {
                Node::Text(_, Some(number)) => Some((*number, value)),
                _ => None,
            },
            _ => None,
        };
        let entries: Vec<_> = items.chunks(2).filter_map(wanted).collect();
        if matches!(opcode, b's' | b'u') {
            if let Value::Node(index) = self.top()?
                && let Node::Dict(dict) = &mut self.pickle.nodes[index as usize]
            {
                dict.reserve_exact(entries.len());
                dict.extend(entries);
            }
        } else {
            let dict = self.pickle.add(Node::Dict(entries))?;
            self.stack.push(dict);
        }
        Ok(())
    }

    /// Classes and their objects.
    fn object(&mut self, opcode: u8) -> Result<(), Stop> {
        let operands = match opcode {
            b'c' => {
                self.line()?;
                self.line()?;
                0
            }
            0x92 => 3,
            // A class by its name, a call, a new object, its state.
            _ => 2,
        };
        for _ in 0..operands {
            self.pop()?;
        }
        self.stack.push(Value::Other);
        Ok(())
    }

    fn top(&self) -> Result<Value, Stop> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        let top = self.stack[bottom..].last().copied();
        top.ok_or_else(|| wrong("a value is missing"))
    }

    fn pop(&mut self) -> Result<Value, Stop> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, Stop> {
        let mark = self.marks.pop().ok_or_else(|| wrong("a mark is missing"))?;
        Ok(self.stack.split_off(mark))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(Stop::Input)?;
        self.offset += N as u64;
        Ok(bytes)
    }

    /// The bytes behind the length that the opcode has.
    fn bytes(&mut self, opcode: u8) -> Result<Vec<u8>, Stop> {
        let len = match opcode {
            0x8a | 0x8c | b'U' | b'C' => u64::from(u8::from_le_bytes(self.array()?)),
            0x8d | 0x8e | 0x96 => u64::from_le_bytes(self.array()?),
            _ => u64::from(u32::from_le_bytes(self.array()?)),
        };
        let mut bytes = Vec::new();
        // Not allocated at once: the length may be wrong.
        let read = self.input.by_ref().take(len).read_to_end(&mut bytes).map_err(Stop::Input)?;
        self.offset += read as u64;
        match read as u64 == len {
            true => Ok(bytes),
            false => Err(Stop::Input(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn line(&mut self) -> Result<(), Stop> {
        let mut line = Vec::new();
        let read = self.input.by_ref().take(4096).read_until(b'\n', &mut line);
        self.offset += read.map_err(Stop::Input)? as u64;
        match line.last() {
            Some(b'\n') => Ok(()),
            _ => Err(Stop::Input(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}
