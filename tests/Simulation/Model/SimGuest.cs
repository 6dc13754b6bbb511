namespace Pollux.Tests.Simulation.Model;

/// <summary>What the software in a VM does: overlapping writes, truncations, holes, times and names, with flushes among them. It remembers
/// what it was told.</summary>
internal sealed class SimGuest(World world, SimHost host)
{
    private readonly int openMax = (int)world.Random.Of([1L, 3, 3, 8]);
    private readonly List<GuestOperation> unanswered = [];
    private int open;
    private int boots;
    private bool flushOpen;
    private bool nameOpen;

    /// <summary>Requests whose ends this boot of the VM has not heard of, in their order.</summary>
    public IReadOnlyList<GuestOperation> Unanswered => [.. unanswered];

    public void Boots()
    {
        boots++;
        unanswered.Clear();
        open = 0;
        flushOpen = nameOpen = false;
    }

    /// <param name="hears">Tells this VM of an end, if it is still there and executes.</param>
    public void Work(SimEngine engine, Func<Action, bool> hears)
    {
        var random = world.Random;
        if (!flushOpen && random.Chance(200))
        {
            Flush(engine, hears);
            return;
        }

        if (open >= openMax)
            return;
        var spot = random.Of(world.Layout.Spots);
        var first = (int)random.Between(0, spot.Cells.Count - 1);
        var count = (int)random.Between(1, spot.Cells.Count - first);
        var (start, end) = (spot.OffsetBytes + first * Cell.Bytes, spot.OffsetBytes + (first + count) * Cell.Bytes);
        var number = world.NextWrite();
        switch (random.Between(0, 99))
        {
            case < 70:
                Submit(engine, GuestOperationKind.Write, number, spot.Object, start, end - start, [.. spot.Cells.Skip(first).Take(count).Select(cell => (cell, number))], hears);
                break;
            case < 76:
                Submit(engine, GuestOperationKind.Punch, number, spot.Object, start, end - start, [.. spot.Cells.Skip(first).Take(count).Select(cell => (cell, 0L))], hears);
                break;
            case < 79:
                Submit(engine, GuestOperationKind.Truncate, number, spot.Object, start, long.MaxValue - start,
                    [.. world.Layout.ContentFrom(spot.Object, start, long.MaxValue).Select(cell => (cell, 0L))], hears);
                break;
            case < 85:
                Submit(engine, GuestOperationKind.SetTime, number, spot.Object, 0, 0, [(world.Layout.TimeCells[spot.Object], number)], hears);
                break;
            case < 90:
                ChangeName(engine, number, hears);
                break;
            case < 94:
                WriteToNamed(engine, number, hears);
                break;
            default:
                foreach (var cell in spot.Cells.Where(cell => engine.MayRead && !engine.InFlight(cell)))
                    world.Truth.Reads(host, cell);
                break;
        }
    }

    private void Flush(SimEngine engine, Func<Action, bool> hears)
    {
        var obj = world.Random.Chance(300) ? 0 : world.Random.Of(world.Layout.Spots).Object;
        var dataOnly = obj != 0 && world.Random.Chance(500);
        flushOpen = true;
        Submit(engine, new GuestOperation
        {
            Kind = GuestOperationKind.Flush, Object = obj, DataOnly = dataOnly, BegunMs = world.Schedule.NowMs, Request = world.NextRequest(),
            MakesStable = [.. world.Truth.FlushBegins(obj).Where(entry => !dataOnly || entry.Cell != world.Layout.TimeCells[obj])],
        }, hears, _ => flushOpen = false);
    }

    private void ChangeName(SimEngine engine, long number, Func<Action, bool> hears)
    {
        // One at a time, those of a VM before included: what a name means next must be known.
        if (nameOpen || world.Layout.NameCells.Any(engine.InFlight))
            return;
        nameOpen = true;
        var random = world.Random;
        var at = (int)random.Between(0, world.Layout.Names.Count - 1);
        var to = (at + 1) % world.Layout.Names.Count;
        var held = world.Layout.NameCells[at].Now(host.Disk);
        var kind = held == 0 ? GuestOperationKind.Create : random.Chance(500) ? GuestOperationKind.Unlink : GuestOperationKind.Rename;
        IReadOnlyList<(Cell Cell, long Value)> changes = kind switch
        {
            GuestOperationKind.Create => [(world.Layout.NameCells[at], number)],
            GuestOperationKind.Unlink => [(world.Layout.NameCells[at], 0)],
            _ => [(world.Layout.NameCells[at], 0), (world.Layout.NameCells[to], held)],
        };
        Submit(engine, kind, number, 0, 0, 0, changes, hears, _ => nameOpen = false, world.Layout.Names[at], world.Layout.Names[to]);
    }

    /// <summary>Content of a file that came into being during the run: no cells follow it, but both copies must be equal and marked.</summary>
    private void WriteToNamed(SimEngine engine, long number, Func<Action, bool> hears)
    {
        var made = host.Disk.Names.Values.Where(node => node.Uid != 0 && node.Links.Count > 0).Select(node => node.Object).ToList();
        if (made.Count > 0)
            Submit(engine, GuestOperationKind.Write, number, world.Random.Of(made), world.Random.Between(0, 1_000) * Cell.Bytes, world.Random.Between(1, 16) * Cell.Bytes, [], hears);
    }

    private void Submit(
        SimEngine engine, GuestOperationKind kind, long number, ulong obj, long offsetBytes, long lengthBytes,
        IReadOnlyList<(Cell Cell, long Value)> changes, Func<Action, bool> hears, Action<int>? then = null, string name = "", string newName = "")
    {
        open++;
        Submit(engine, new GuestOperation
        {
            Kind = kind, Number = number, Object = obj, OffsetBytes = offsetBytes, LengthBytes = lengthBytes, Name = name, NewName = newName,
            BegunMs = world.Schedule.NowMs, Request = world.NextRequest(), Changes = changes,
        }, hears, errno =>
        {
            open--;
            then?.Invoke(errno);
        });
    }

    private void Submit(SimEngine engine, GuestOperation request, Func<Action, bool> hears, Action<int> told)
    {
        var mine = boots;
        var operation = request with
        {
            Ends = errno => mine == boots && hears(() =>
            {
                Truth.Require(unanswered.RemoveAll(one => one.Request == request.Request) == 1, $"the VM on {host.Name} hears twice of the end of {request}");
                told(errno);
            }),
        };
        unanswered.Add(operation);
        engine.Submit(operation);
    }
}
