// Templates for the C++ compiler: containers, algorithms, streams.
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

template <typename Key, typename Value> struct Index {
    std::map<Key, std::vector<Value>> sorted;
    std::unordered_map<Key, std::shared_ptr<Value>> hashed;

    void add(const Key &key, Value value) {
        hashed[key] = std::make_shared<Value>(value);
        sorted[key].push_back(std::move(value));
    }
    std::vector<Value> where(const std::function<bool(const Value &)> &test) const {
        std::vector<Value> found;
        for (const auto &[key, values] : sorted)
            std::copy_if(values.begin(), values.end(), std::back_inserter(found), test);
        std::sort(found.begin(), found.end());
        return found;
    }
};

int main() {
    Index<std::string, int> by_name;
    Index<int, std::string> by_number;
    const std::string digits = "0123456789";
    for (std::string line; std::getline(std::cin, line);) {
        const auto end = line.find_first_of(digits);
        if (end == std::string::npos) continue;
        by_name.add(line.substr(0, end), std::stoi(line.substr(end)));
        by_number.add(static_cast<int>(line.size()), line.substr(0, end));
    }
    std::ostringstream out;
    for (int length : by_name.where([](int length) { return length > 2; })) out << length << ' ';
    for (const auto &name : by_number.where([](const std::string &it) { return it != "x"; })) out << name;
    std::cout << out.str() << '\n';
}
