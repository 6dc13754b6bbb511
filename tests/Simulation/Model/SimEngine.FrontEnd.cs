using Pollux.DataPlane.Core.Replication;

namespace Pollux.Tests.Simulation.Model;

// The front end: requests of the VM in, ends of them out.
internal sealed partial class SimEngine
{
    private readonly SortedDictionary<ulong, GuestOperation> underWay = [];
    private readonly Queue<GuestOperation> waiting = new();

    /// <summary>Requests that an earlier process has read and not answered; they come again when the volume is served.</summary>
    private IReadOnlyList<GuestOperation> inherited = [];
    private readonly HashSet<ulong> references = [];
    private readonly Dictionary<ulong, int> writeBuffers = [];
    private ulong tags;
    private bool submitting;

    /// <summary>An operation that was asked for and has not ended changes the cell.</summary>
    public bool InFlight(Cell cell) =>
        underWay.Values.Any(operation => operation.Changes.Any(change => change.Cell == cell)) || waiting.Any(operation => operation.Changes.Any(change => change.Cell == cell));

    /// <param name="lengthBytes">0: the object's attributes and names.</param>
    public bool InFlight(ulong obj, long offsetBytes, long lengthBytes) => underWay.Values.Any(operation => operation.Kind switch
    {
        GuestOperationKind.Flush => false,
        GuestOperationKind.Create or GuestOperationKind.Unlink or GuestOperationKind.Rename => lengthBytes == 0,
        _ => operation.Object == obj && (lengthBytes == 0
            || operation.OffsetBytes < offsetBytes + lengthBytes && offsetBytes - operation.OffsetBytes < operation.LengthBytes),
    });

    /// <summary>A request of the VM; it waits in the kernel's queue while the engine takes none.</summary>
    public void Submit(GuestOperation operation)
    {
        world.Truth.Begins(operation);
        waiting.Enqueue(operation);
        Turn(SubmitWaiting);
    }

    public void Inherit(IReadOnlyList<GuestOperation> unanswered) => (inherited, hasHeirs) = (unanswered, true);

    /// <summary>The kernel puts what comes again in front of what nobody has read yet.</summary>
    private void ComeAgain()
    {
        GuestOperation[] unread = [.. waiting];
        waiting.Clear();
        foreach (var operation in inherited)
            waiting.Enqueue(operation with { IsResent = true });
        foreach (var operation in unread)
            waiting.Enqueue(operation);
        inherited = [];
    }

    private void SubmitWaitingLater()
    {
        if (waiting.Count == 0 || submitting || source is not { CanAdmit: true } || stopping)
            return;
        submitting = true;
        After(machines, 0, () =>
        {
            submitting = false;
            Turn(SubmitWaiting);
        });
    }

    private void SubmitWaiting()
    {
        while (source is { CanAdmit: true } machine && !stopping && waiting.TryDequeue(out var operation))
            Submit(machine, operation);
    }

    private void Submit(SourceMachine machine, GuestOperation operation)
    {
        var tag = new OperationTag(++tags, 0);
        underWay.Add(tag.Unique, operation);
        switch (operation.Kind)
        {
            case GuestOperationKind.Write:
                var content = new byte[operation.LengthBytes];
                Cell.Fill(content, operation.Number);
                var data = NewBuffer(content);
                writeBuffers.Add(tag.Unique, data.Buffer);
                machine.Write(tag, operation.Object, operation.OffsetBytes, data);
                break;
            case GuestOperationKind.Flush:
                machine.Flush(tag, operation.Object, operation.DataOnly);
                break;
            default:
                machine.Mutate(tag, MutationOf(operation));
                break;
        }
    }

    private static Mutation MutationOf(GuestOperation operation)
    {
        const uint KeepSizeAndPunchHole = 3; // linux/falloc.h
        return operation.Kind switch
        {
            GuestOperationKind.Truncate => new Mutation(MutationKind.SetAttributes) { Object = operation.Object, Mask = AttributeMask.Size, SizeBytes = operation.OffsetBytes },
            GuestOperationKind.SetTime => new Mutation(MutationKind.SetAttributes) { Object = operation.Object, Mask = AttributeMask.ModifyTime, ModifyTimeNs = operation.Number },
            GuestOperationKind.Punch => new Mutation(MutationKind.Allocate)
            {
                Object = operation.Object, OffsetBytes = operation.OffsetBytes, LengthBytes = operation.LengthBytes, Flags = KeepSizeAndPunchHole,
            },
            GuestOperationKind.Create => new Mutation(MutationKind.CreateFile)
            {
                Parent = Layout.Root, Name = SimDisk.NameBytes(operation.Name), Mode = SimNode.Regular, Uid = (uint)operation.Number,
            },
            GuestOperationKind.Unlink => new Mutation(MutationKind.Unlink) { Parent = Layout.Root, Name = SimDisk.NameBytes(operation.Name) },
            GuestOperationKind.Rename => new Mutation(MutationKind.Rename)
            {
                Parent = Layout.Root, Name = SimDisk.NameBytes(operation.Name), NewParent = Layout.Root, NewName = SimDisk.NameBytes(operation.NewName),
            },
            _ => throw new InvalidOperationException(operation.ToString()),
        };
    }

    void IFrontEnd.Complete(OperationTag tag, int errno, int count) => effects.Add(() => Ended(tag, errno));

    void IFrontEnd.CompleteMutation(OperationTag tag, int errno, in ObjectAttributes attributes)
    {
        var obj = attributes.Object;
        effects.Add(() =>
        {
            Ended(tag, errno);
            // The kernel forgets what it looked up some time later.
            if (errno == 0 && references.Contains(obj))
                After(machines, world.Random.Chance(500) ? 0 : world.Random.Between(0, 3_000), () =>
                {
                    references.Remove(obj);
                    Turn(() => source?.Unreferenced(obj));
                });
        });
    }

    private void Ended(OperationTag tag, int errno)
    {
        if (!underWay.Remove(tag.Unique, out var operation))
            throw new SafetyViolation($"{host.Name} ends request {tag.Unique}, which is not under way");
        if (writeBuffers.Remove(tag.Unique, out var buffer))
            Release(buffer);
        if (operation.IsResent && IsDoneAlready(operation, errno))
            errno = 0;
        if (operation.Ends(errno))
            world.Truth.Ends(host, epoch, operation, errno);
    }

    /// <summary>As FuseVolume judges changes of names that come again.</summary>
    private bool IsDoneAlready(GuestOperation operation, int errno) => operation.Kind switch
    {
        GuestOperationKind.Create => errno == 17 && Holds(operation.Name)?.Uid == operation.Number, // EEXIST
        GuestOperationKind.Unlink => errno == 2, // ENOENT
        GuestOperationKind.Rename => errno == 2 && Holds(operation.NewName) is not null,
        _ => false,
    };

    private SimNode? Holds(string name) => SimDisk.Lookup(host.Disk.Names, Layout.Root, name);
}
