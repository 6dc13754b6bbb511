using Pollux.DataPlane.Core.Replication;

namespace Pollux.Tests.Simulation.Model;

/// <summary>Checks rule S6 after every step, by what the step has touched: what a crash at this moment would leave must say of every range in
/// which the copies differ that they may differ.</summary>
/// <remarks>Kept from one look to the next: the differences and the durable marks. Written sectors are compared again; a change of names,
/// lengths or anything but written sectors is a reason to compare all, a change of the mark files to read them and to look for all
/// differences in them.</remarks>
internal sealed class MarkedDifferences
{
    private readonly SortedDictionary<(ulong Object, long OffsetBytes), Difference> differing = [];
    private readonly List<ObjectRange> marks = [];
    private SimHost? source;
    private (long Source, long Target) shapes;
    private (long Source, long Target) files;
    private bool everything;

    /// <summary>There is no pair that would go by marks.</summary>
    public void Forget(IReadOnlyList<SimHost> hosts)
    {
        source = null;
        foreach (var host in hosts)
            host.Disk.Touched.Clear();
    }

    public void Check(SimHost from, SimHost to, string when)
    {
        var (shape, file) = ((from.Disk.ShapeVersion, to.Disk.ShapeVersion), (from.Disk.MetadataVersion, to.Disk.MetadataVersion));
        var other = source != from;
        var all = other || shape != shapes;
        var read = other || file != files;
        if (read)
            ReadMarks(from, to);
        (source, shapes, files) = (from, shape, file);
        if (all)
            CompareAll(from.Disk, to.Disk);
        else
            CompareTouched(from, to, when);
        from.Disk.Touched.Clear();
        to.Disk.Touched.Clear();
        if (!all && !read)
            return;
        foreach (var difference in differing.Values)
            Require(difference, from, to, when);
    }

    private void CompareAll(SimDisk from, SimDisk to)
    {
        differing.Clear();
        foreach (var difference in Differences.Of(from, to))
        {
            // Names and lengths are compared by every resync, and what waits for its content comes as a whole.
            if (difference.LengthBytes > 0 && !to.Names[difference.Object].AwaitsContent)
                differing.Add((difference.Object, difference.OffsetBytes), difference);
        }
    }

    private void CompareTouched(SimHost from, SimHost to, string when)
    {
        foreach (var (obj, sector) in from.Disk.Touched.Concat(to.Disk.Touched))
        {
            if (Differences.At(from.Disk, to.Disk, obj, sector) is not { } difference || to.Disk.Names[obj].AwaitsContent)
            {
                differing.Remove((obj, sector * SimDisk.SectorBytes));
                continue;
            }

            differing[(obj, sector * SimDisk.SectorBytes)] = difference;
            Require(difference, from, to, when);
        }
    }

    private void ReadMarks(SimHost from, SimHost to)
    {
        marks.Clear();
        everything = false;
        foreach (var (host, part) in ((SimHost, ResyncPart)[])[(from, ResyncPart.Source), (to, ResyncPart.Target)])
        {
            var found = RecoveredMarks.Read(
                host.Disk.Metadata(SimEngine.CheckpointFile), host.Disk.Metadata(SimEngine.LogFile), ActivityLogImage.SlotsPerGroup, part, out _);
            everything |= found is not { EverythingMayDiffer: false };
            marks.AddRange(found?.Ranges ?? []);
        }
    }

    private void Require(in Difference difference, SimHost from, SimHost to, string when)
    {
        if (everything || marks.Exists(difference.IsIn))
            return;
        throw new SafetyViolation(
            $"S6, {when}: {difference} differs ({difference.First} on {from.Name}, {difference.Second} on {to.Name}) and has no durable mark on either host");
    }
}
