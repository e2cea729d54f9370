"""Small objects, closures, strings and sets, made and dropped all the time."""


class Node:
    def __init__(self, key):
        self.key = key
        self.left = None
        self.right = None

    def insert(self, key):
        node = self
        while True:
            side = "left" if key < node.key else "right"
            child = getattr(node, side)
            if child is None:
                setattr(node, side, Node(key))
                return
            node = child


def numbers(count):
    state = 1
    for _ in range(count):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        yield state


root = Node(1 << 30)
for number in numbers(60_000):
    root.insert(number)
words = [hex(number)[2:] for number in numbers(200_000)]
lines = [" ".join(words[i : i + 10]) for i in range(0, len(words), 10)]
seen = set()
for line in lines:
    seen.update(part + "!" for part in line.split(" "))
squares = {word: [ord(letter) ** 2 for letter in word] for word in words}
print(len(seen), len(squares), sum(len(line.upper()) for line in lines))
