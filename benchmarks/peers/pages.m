-- benchmarks/pages.hmm for Murphi (Rumur).  run.py puts numbers for PAGES and FRAMES, and the type of Page: `scalarset(PAGES)`
-- to reduce by symmetry as hmmspec does, `0 .. PAGES - 1` to store every state.
const
  PAGES: $PAGES;
  FRAMES: $FRAMES;
  PINS: 2;

type
  Page: $PAGE_TYPE;
  Place: enum { unmapped, system, device, to_device, to_system, swapped };

var
  place: array [Page] of Place;
  pins: array [Page] of 0 .. PINS;
  dirty, mapped, written: array [Page] of boolean;

function idle(p: Page): boolean;
begin
  return pins[p] = 0 & !mapped[p];
end;

function holds_frame(p: Page): boolean;
begin
  return place[p] = device | place[p] = to_device | place[p] = to_system;
end;

function frames_used(): 0 .. PAGES;
var n: 0 .. PAGES;
begin
  n := 0;
  for p: Page do
    if holds_frame(p) then n := n + 1; end;
  end;
  return n;
end;

procedure reset(p: Page);
begin
  place[p] := unmapped;
  pins[p] := 0;
  dirty[p] := false;
  mapped[p] := false;
  written[p] := false;
end;

startstate "nothing is mapped"
  for p: Page do reset(p); end;
end;

ruleset p: Page do
  rule "cpu_alloc"      place[p] = unmapped                           ==> place[p] := system; dirty[p] := false; end;
  rule "cpu_write"      place[p] = system                             ==> dirty[p] := true; end;
  rule "pin"            place[p] = system & pins[p] < PINS            ==> pins[p] := pins[p] + 1; end;
  rule "unpin"          pins[p] > 0                                   ==> pins[p] := pins[p] - 1; end;
  rule "mirror_map"     place[p] = system                             ==> mapped[p] := true; end;
  rule "invalidate"     place[p] = system & mapped[p]                 ==> mapped[p] := false; end;
  rule "swap_out"       place[p] = system & idle(p)                   ==> place[p] := swapped; end;
  rule "swap_in"        place[p] = swapped                            ==> place[p] := system; end;
  rule "migrate_start"  place[p] = system & idle(p) & frames_used() < FRAMES ==> place[p] := to_device; end;
  rule "migrate_finish" place[p] = to_device                          ==> place[p] := device; mapped[p] := true; end;
  rule "migrate_abort"  place[p] = to_device                          ==> place[p] := system; end;
  rule "device_write"   place[p] = device & mapped[p]                 ==> written[p] := true; end;
  rule "cpu_fault"      place[p] = device                             ==> place[p] := to_system; mapped[p] := false; end;
  rule "migrate_back"   place[p] = to_system                          ==>
    place[p] := system;
    dirty[p] := dirty[p] | written[p];
    written[p] := false;
  end;
  rule "unmap" (place[p] = system & idle(p)) | place[p] = device | place[p] = swapped ==> reset(p); end;
end;

invariant "pinned_in_system"  forall p: Page do pins[p] > 0 -> place[p] = system end;
invariant "holder_not_pinned" forall p: Page do holds_frame(p) -> pins[p] = 0 end;
invariant "mapped_where_it_is" forall p: Page do mapped[p] -> place[p] = system | place[p] = device end;
invariant "capacity" frames_used() <= FRAMES;
