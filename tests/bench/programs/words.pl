# Counts words, cuts lines with regular expressions, sorts.
use strict;
use warnings;

my $state = 1;
sub number { $state = ($state * 1103515245 + 12345) & 0x7fffffff; return $state >> 8; }

my (%count, @lines);
for my $i (1 .. 40_000) {
    push @lines, join ' ', map { 'word' . number() % 30_000 } 1 .. 8;
}
for my $line (@lines) {
    $count{$_}++ for split / /, $line;
    (my $changed = $line) =~ s/word(\d+)/<$1>/g;
    $count{length $changed}++;
}
my @common = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
print scalar(@common), " $common[0] $count{$common[0]}\n";
