namespace Pollux.Grains.Core;

/// <param name="Granted">The request took effect, now or when it was first decided. A look is always granted.</param>
/// <param name="Record">The record now. After a repeated grant it may be newer than what the grant made: obey it.</param>
/// <param name="Reason">Why it was refused, in words; empty if granted.</param>
public sealed record ArbiterDecision(bool Granted, ArbiterRecord Record, string Reason);
