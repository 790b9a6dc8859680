import { defineError } from "./errors.ts";

/** What goes wrong with students and their namespaces. */
export const StudentNotFound = defineError("STUDENT_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { student: string }) => `there is no student ${JSON.stringify(d.student.slice(0, 80))}`,
  advice: "`boot student get` lists all of them; `boot student create NAME` makes one.",
});
export const StudentNotReady = defineError("STUDENT_NOT_READY", {
  kind: "user",
  httpStatus: 409,
  message: (d: { student: string; reason: string }) =>
    `${d.student} has no account in the cluster yet: ${d.reason}`,
  advice:
    "It is made by itself as soon as the cluster is up; `boot cluster show` tells how far the cluster is, `boot student describe` the student.",
});
export const StudentLeaving = defineError("STUDENT_LEAVING", {
  kind: "user",
  httpStatus: 409,
  message: (d: { student: string }) => `${d.student} is being deleted`,
  advice: "Wait until `boot student get` does not show the student any more, then create it anew.",
});
export const StudentNamesake = defineError("STUDENT_NAMESAKE", {
  kind: "user",
  httpStatus: 409,
  message: (d: { asked: string; student: string; other: string }) =>
    `${d.asked} comes to ${d.student}, which ${d.other} has, and two persons can't share a namespace`,
  advice:
    "Ask with the very name that is there if it is the same person; `boot student describe NAME` tells who that is. For another one choose another name.",
});
export const StudentNamespaceTaken = defineError("STUDENT_NAMESPACE_TAKEN", {
  kind: "user",
  httpStatus: 409,
  message: (d: { student: string }) =>
    `the cluster has a namespace ${d.student} that is not a student's of this server`,
  advice:
    "Nothing in it is touched, and nobody gets rights there. Delete this student and create one with another name, or remove that namespace if it is of no use.",
});
export const StudentsTooMany = defineError("STUDENTS_TOO_MANY", {
  kind: "user",
  httpStatus: 409,
  message: (d: { most: number }) => `there would be more than ${d.most} students`,
  advice:
    "Delete those of past courses first: `boot student get` lists all, `boot student delete @FILE` takes a class.",
});
