using System.Runtime.CompilerServices;
using Pollux.DataPlane.Core.Replication;

namespace Pollux.Tests.Simulation.Model;

/// <summary>Reaches the marks inside a source, which has no switch for <see cref="Sabotage.FlushesBelieved"/>.</summary>
internal static class MarksInside
{
    public static void BelieveFlushes(SourceMachine source) => UnprovenOf(MarksOf(source).Map).Clear();

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_marks")]
    private static extern ref MarksMachine MarksOf(SourceMachine source);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "unproven")]
    private static extern ref UnprovenFlushes UnprovenOf(DirtyMap map);
}
