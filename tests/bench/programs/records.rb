# Structs, hashes, symbols and strings.
Person = Struct.new(:id, :name, :tags)
state = 1
number = -> { (state = (state * 1103515245 + 12345) & 0x7fffffff) >> 8 }
people = Array.new(60_000) do |i|
  Person.new(i, "person number #{i}", Array.new(4) { "tag#{number.call % 300}" })
end
by_tag = Hash.new { |hash, key| hash[key] = [] }
people.each { |person| person.tags.each { |tag| by_tag[tag] << person.name.upcase } }
longest = by_tag.max_by { |tag, names| [names.size, tag] }
text = people.map { |person| "#{person.name}: #{person.tags.join(', ')}" }.join("\n")
puts [by_tag.size, longest[0], text.size, text.scan(/tag1\d/).size].join(' ')
